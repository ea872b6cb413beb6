"""The software of an AC charging station: events in, effects out, one thin shell around it."""

__version__ = "0.1.0"
