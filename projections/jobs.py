"""Work to be done, as the log left it: challenges to validate, requests to have issued,
certificates to have revoked, and twins to look for.

Who is at work on a job, until when and for which time, is no decision and not kept here.
"""

import msgspec

from projections.tables import Column, Table

VALIDATE = "validate"
ISSUE = "issue"
REVOKE = "revoke"
TWINS = "twins"


class Job(msgspec.Struct, frozen=True):
    """Something to do for an order; `id` is the challenge's, the order's, the revocation's or the
    suspect's."""

    id: str
    kind: str
    order_id: str
    account_id: str
    position: int


JOBS = Table(
    "jobs",
    Job,
    [
        Column("id", size=40),
        Column("kind", size=16),
        Column("order_id", size=26),
        Column("account_id", size=26),
        Column("position", "integer"),
    ],
    key=("id",),
    body=False,
)
