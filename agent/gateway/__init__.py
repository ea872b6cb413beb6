"""A station with a modem as the router of stations without one: `rules` (what the kernel lets through), `leaves` (who
hangs off it, and what it has cost), `service` (the unit that does it). docs/gateway.md.
"""
