"""The bearers, one file each, behind the interface of agent/modem/bearer.py."""
