"""What a session costs (docs/policy.md): `terms` reads a tariff, `moment` says which price holds, `usage` counts,
`cost` multiplies, `choice` says whose tariff it is."""
