"""The cellular modem: the AT channel and the parsers of what a modem says. `docs/modem.md` names fields and sources."""
