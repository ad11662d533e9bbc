"""Which node this is, whether it may run, and how it comes into service."""
