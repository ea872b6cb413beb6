"""What has entered the core, kept for weeks on the station's own disk, and replayed elsewhere (docs/diagnostics.md)."""
