"""The wire between station and cloud; docs/uplink.md describes it for both ends."""
