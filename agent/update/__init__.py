"""Builds and their way onto a station. Has its own unit and its own state: of the agent it imports files and lock."""
