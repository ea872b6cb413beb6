"""What a session costs, docs/policy.md: `terms` reads a tariff, `usage` counts, `cost` multiplies, `choice` picks."""
