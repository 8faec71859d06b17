"""Wire protocols, both directions, pure: no I/O, no clock, no environment."""
