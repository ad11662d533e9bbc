"""Authorities: who signs certificates, and how they are asked."""

from certeasy.ca.authority import (
    Authority,
    DenialProblem,
    Denied,
    InDoubt,
    Issued,
    Outcome,
    Pending,
    Revocation,
    RevocationRefused,
    Submission,
    Trace,
    Unavailable,
    Untraceable,
)

__all__ = [
    "Authority",
    "DenialProblem",
    "Denied",
    "InDoubt",
    "Issued",
    "Outcome",
    "Pending",
    "Revocation",
    "RevocationRefused",
    "Submission",
    "Trace",
    "Unavailable",
    "Untraceable",
]
