"""The install wizard: its steps, what they ask, and the evidence that they pass. Pure."""
