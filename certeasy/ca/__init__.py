"""Authorities: who signs certificates, and how they are asked."""

from certeasy.ca.authority import (
    Authority,
    Denied,
    InDoubt,
    Issued,
    Outcome,
    Pending,
    Submission,
    Unavailable,
)

__all__ = [
    "Authority",
    "Denied",
    "InDoubt",
    "Issued",
    "Outcome",
    "Pending",
    "Submission",
    "Unavailable",
]
