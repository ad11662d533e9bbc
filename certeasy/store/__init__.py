"""All SQL: the event log, the projections, and what is durable beside them."""

from certeasy.store.errors import (
    CommitUnknown,
    DatabaseUnavailable,
    DatabaseUnfit,
    HistoryLost,
    NonceStored,
    PlaceLost,
)
from certeasy.store.statements import LEASE_SECONDS
from certeasy.store.store import Store
from certeasy.store.transaction import Head, Server, Transaction

__all__ = [
    "LEASE_SECONDS",
    "CommitUnknown",
    "DatabaseUnavailable",
    "DatabaseUnfit",
    "Head",
    "HistoryLost",
    "NonceStored",
    "PlaceLost",
    "Server",
    "Store",
    "Transaction",
]
