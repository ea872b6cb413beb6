"""The pure half of the bearers (agent/modem/bearers/): what is asked, what answers mean, what is set and taken back."""
