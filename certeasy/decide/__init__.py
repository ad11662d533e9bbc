"""Pure rules: what may happen. No I/O, no clock, no randomness; all of it is handed in."""
