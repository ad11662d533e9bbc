"""How rows become the objects that clients are shown."""

import math
from datetime import datetime

from certeasy.acme import messages
from certeasy.acme.messages import whole_seconds
from certeasy.acme.urls import Urls
from certeasy.decide import waiting
from certeasy.decide.orders import authorization_status, visible_error, visible_status
from certeasy.settings.challenges import WITHOUT_TOKEN
from projections.orders import (
    INVALID,
    PENDING,
    PROCESSING,
    VALID,
    Authorization,
    Challenge,
    Order,
)

SOON = 1
"""Seconds after which it is worth asking again while something is being done. Not more than five:
some clients give up within half a minute."""


def order(row: Order, urls: Urls, now: datetime, replaces: str) -> messages.Order:
    """RFC 8555 section 7.1.3. The certificate has a URL once there is one.

    `replaces` is the certID of the predecessor, or empty.
    """
    status = visible_status(row, now)
    return messages.Order(
        status=status,
        expires=whole_seconds(row.expires),
        identifiers=row.identifiers,
        authorizations=tuple(urls.authorization(row.id, n) for n in range(len(row.authorizations))),
        finalize=urls.finalize(row.id),
        certificate=urls.certificate(row.id) if status == VALID else "",
        error=visible_error(row, now),
        replaces=replaces,
        profile=row.profile,
    )


def authorization(row: Order, n: int, urls: Urls, now: datetime) -> messages.Authorization:
    """RFC 8555 section 7.1.4. One that is over lists the challenge that was solved, or that failed.

    acme.sh takes the last status it finds in the text for the authorization's own.
    """
    one = row.authorizations[n]
    return messages.Authorization(
        identifier=one.identifier,
        status=authorization_status(row, one, now),
        expires=whole_seconds(row.expires),
        challenges=tuple(
            challenge(row, n, m, urls)
            for m, each in enumerate(one.challenges)
            if one.status not in (VALID, INVALID) or each.status == one.status
        ),
        wildcard=one.wildcard,
    )


def challenge(row: Order, n: int, m: int, urls: Urls) -> messages.Challenge:
    """RFC 8555 section 8. One without a token tells who is to be named in its record."""
    one = row.authorizations[n].challenges[m]
    named = one.type in WITHOUT_TOKEN
    return messages.Challenge(
        type=one.type,
        url=urls.challenge(row.id, n, m),
        status=one.status,
        token=one.token,
        validated=whole_seconds(one.validated) if one.validated else "",
        error=one.error,
        accounturi=urls.account(row.account_id) if named else "",
        issuer_domain_names=urls.issuers if named else (),
    )


def retry_order(row: Order, now: datetime) -> int | None:
    """Return after how many seconds to ask for an order again; None: nothing is being done.

    While a person has to approve the request, nothing can come sooner than it is asked for.
    """
    if row.status == PROCESSING:
        wait = waiting.poll(row, now)
        return SOON if wait is None else math.ceil(wait.total_seconds())
    tried = row.status == PENDING and any(map(_is_tried, row.authorizations))
    return SOON if tried else None


def retry_authorization(one: Authorization) -> int | None:
    """Return after how many seconds to ask for an authorization again, or None."""
    return SOON if _is_tried(one) else None


def retry_challenge(one: Challenge) -> int | None:
    """Return after how many seconds to ask for a challenge again, or None."""
    return SOON if one.status == PROCESSING else None


def _is_tried(one: Authorization) -> bool:
    return one.status == PENDING and any(each.status == PROCESSING for each in one.challenges)
