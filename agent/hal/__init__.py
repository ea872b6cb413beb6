"""What a board is made of: one file a driver, each with a simulated twin that models physics."""
