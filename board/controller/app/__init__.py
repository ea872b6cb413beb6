"""The firmware's logic: pure, time as an argument. The simulator and the tests run these very files."""
