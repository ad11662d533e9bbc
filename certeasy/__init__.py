"""Certeasy: an ACME server in front of Microsoft AD CS, whose state is a signed log."""

__version__ = "0.1.0"
