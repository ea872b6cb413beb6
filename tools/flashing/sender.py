"""The flasher's sender is also the station's, towards its controller."""

from agent.update.sender import RoundTrip, Sender

__all__ = ["RoundTrip", "Sender"]
