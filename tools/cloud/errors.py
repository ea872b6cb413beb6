"""What the person at the keyboard can mend."""


class OperatorError(Exception):
    """The operator can fix it; the message says how."""
