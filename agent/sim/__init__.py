"""The simulated world: cars, controller, broker, network, disk, clock and power, from one seed."""
