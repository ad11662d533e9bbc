"""The append-only journal of one node: written, read and verified line by line."""
