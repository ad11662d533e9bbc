"""Run from a checkout, not part of the wheel: load generator, crash lab, demonstrations."""
