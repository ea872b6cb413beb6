"""The port controller: its firmware, and the contract that the host shares with it. MicroPython subset."""
