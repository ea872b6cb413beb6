"""The station's image: Debian, our units, and a build in slot A. `make image` runs it, no device has it."""
