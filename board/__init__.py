"""What a station is made of: boards as data, the firmware of its port controller, its image."""
