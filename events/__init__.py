"""What can happen: one struct per fact, the signed line it is kept in, and how old lines are
read."""

from events import accounts, certificates, eab, nodes, orders, recovery, subjects
from events.envelope import Actor, BrokenLine, Envelope, Record, parse, seal_line, timestamp
from events.registry import Event, NewerSchema, UndecodableEvent, UnknownEvent, name_of

__all__ = [
    "Actor",
    "BrokenLine",
    "Envelope",
    "Event",
    "NewerSchema",
    "Record",
    "UndecodableEvent",
    "UnknownEvent",
    "accounts",
    "certificates",
    "eab",
    "name_of",
    "nodes",
    "orders",
    "parse",
    "recovery",
    "seal_line",
    "subjects",
    "timestamp",
]
