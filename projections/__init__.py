"""Folds of the log into rows: what is true now, and what is left to do."""
