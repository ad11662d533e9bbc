"""`certeasy unsettled`: what is open between the log and the authorities."""

from pathlib import Path

import click
import msgspec

from certeasy.cli.at_rest import tables_of
from certeasy.cli.options import read, told, with_config
from certeasy.store import DatabaseUnavailable, DatabaseUnfit, Store
from journal.breaks import printable
from projections.authorities import TROUBLES
from projections.orders import ORDERS, Order
from projections.revocations import Revocation
from projections.suspects import Suspect


class Open(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something that is open, as `--json` prints it; times are RFC 3339 in UTC.

    `kind` is `order` (it waits for an authority), `approval` (a person has to approve a request),
    `in-doubt` (it is not known what became of a submission), `twin` (a certificate may exist that
    nobody has), or `revocation` (a certificate is to be revoked at its authority). `state` is, of a
    twin, `looked-for` or `not-found`, of a revocation `waiting`, `failed`, or `recorded`: its
    authority is not told.
    """

    kind: str
    state: str
    authority: str
    order: str
    since: str
    names: tuple[str, ...]
    attempt: int = 0
    request: str = ""
    serial: str = ""
    detail: str = ""


@click.command(epilog="Example: certeasy unsettled -f config.yml --json")
@with_config
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@told(DatabaseUnavailable, DatabaseUnfit)
def unsettled(config_file: Path, *, as_json: bool) -> None:
    """List what is open between the log and the authorities. May be run beside the server.

    Orders that wait for an authority, requests that a person has to approve, submissions whose
    answer was lost, certificates that may exist although nobody has them, and certificates that are
    to be revoked and are not yet. Exit codes: 0 listed, be it nothing; 1 the database cannot be
    read.
    """
    with tables_of(read(config_file).database) as store:
        found = _open(store)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found), indent=2))
        return
    for each in found:
        click.echo(printable(_line(each)))
    if not found:
        click.echo("nothing is open", err=True)


def _open(store: Store) -> list[Open]:
    names = _Names(store)
    waiting = [_submission(store, order) for order in store.processing()]
    twins = [_twin(suspect, names.of(suspect.order_id)) for suspect in store.suspects()]
    revocations = [_revocation(row, names.of(row.order_id)) for row in store.unpublished()]
    return [*waiting, *twins, *revocations]


class _Names:
    """The names of orders."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def of(self, order_id: str) -> tuple[str, ...]:
        """Return what an order is for; a certificate of a lost line has none any more."""
        order = self._store.get(ORDERS, order_id)
        return _names(order) if order is not None else ()


def _names(order: Order) -> tuple[str, ...]:
    return tuple(identifier.value for identifier in order.identifiers)


def _submission(store: Store, order: Order) -> Open:
    trouble = store.get(TROUBLES, order.authority)
    return Open(
        kind="approval" if order.pending else "in-doubt" if order.doubted else "order",
        state="waiting",
        authority=order.authority,
        order=order.id,
        since=order.pending or order.finalized,
        names=_names(order),
        attempt=order.attempt,
        request=order.request_id,
        detail="" if trouble is None else f"the authority cannot be used: {trouble.reason}",
    )


def _twin(suspect: Suspect, names: tuple[str, ...]) -> Open:
    return Open(
        kind="twin",
        state="not-found" if suspect.searched else "looked-for",
        authority=suspect.authority,
        order=suspect.order_id,
        since=suspect.since,
        names=names,
        attempt=suspect.attempt,
        request=suspect.request_id,
        detail=suspect.reason,
    )


def _revocation(row: Revocation, names: tuple[str, ...]) -> Open:
    why = {"mismatched": "not what was ordered", "twin": "nobody has it"}.get(row.cause, row.cause)
    return Open(
        kind="revocation",
        state=row.state,
        authority=row.authority,
        order=row.order_id,
        since=row.accepted,
        names=names,
        request=row.request_id,
        serial=row.serial,
        detail=f"{why}: {row.detail}" if row.detail else why,
    )


def _line(each: Open) -> str:
    parts = [each.since, each.kind, each.state, each.authority, f"order {each.order}"]
    parts += [f"attempt {each.attempt}"] if each.attempt else []
    parts += [f"request {each.request}"] if each.request else []
    parts += [f"serial {each.serial}"] if each.serial else []
    parts += [" ".join(each.names)] if each.names else []
    parts += [each.detail] if each.detail else []
    return "  ".join(parts)
