"""What `certeasy init` looks at before it believes an answer. Nothing is created or changed."""

import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec

from certeasy.clock import SystemClock
from certeasy.cluster.mounts import network_file_system
from certeasy.settings import DatabaseSettings
from certeasy.settings.adcs import AdcsSettings
from certeasy.store import DatabaseUnavailable, DatabaseUnfit, Store
from certeasy.store.databases import place_of
from projections.nodes import INSTALLATION


class Unusable(Exception):
    """What was looked at cannot be used; the message is one line."""


class Seen(msgspec.Struct, frozen=True):
    """A database that can be used. `anchor` is that of the installation in it; empty: there is
    none yet."""

    text: str
    warnings: tuple[str, ...] = ()
    anchor: str = ""


def database(settings: DatabaseSettings) -> Seen:
    """Connect, and return what is there. Raises Unusable."""
    try:
        if settings.driver == "sqlite":
            return _sqlite(settings.path)
        return _server(settings)
    except (DatabaseUnavailable, DatabaseUnfit) as error:
        raise Unusable(str(error)) from None


def _sqlite(path: Path) -> Seen:
    what = f"SQLite {sqlite3.sqlite_version}, {path}"
    if (kind := network_file_system(path)) is not None:
        raise Unusable(
            f"{path} is on a network file system ({kind}), whose locks cannot be relied on: name a"
            " place on a local disk"
        )
    if not path.exists():
        return Seen(f"{what}: the first start makes it")
    if not path.is_file():
        raise Unusable(f"{path} is no file")
    with closing(Store.sqlite(path)) as store:
        anchor = _anchor(store)
    return Seen(f"{what}: {'an installation is in it' if anchor else 'empty'}", anchor=anchor)


def _server(settings: DatabaseSettings) -> Seen:
    with closing(Store.open(settings)) as store:
        fitness = store.fitness()
        if fitness.refusals:
            raise Unusable(f"{place_of(settings)} cannot be used: {'; '.join(fitness.refusals)}")
        anchor = _anchor(store)
    there = "an installation is in it" if anchor else "no tables of Certeasy yet"
    what = f"{place_of(settings)}, version {fitness.version}, schema {fitness.schema}: {there}"
    return Seen(what, fitness.warnings, anchor)


def _anchor(store: Store) -> str:
    if store.is_empty():
        return ""
    found = store.get(INSTALLATION, store.head().installation_id)
    return "" if found is None else found.kid


def published(settings: AdcsSettings) -> tuple[str, ...]:
    """Return the templates that a CA offers: as the directory has it, or as the CA itself says.

    Raises Unusable where neither tells.
    """
    # What speaks RPC takes its time to be imported, and is not for everybody.
    from certeasy.ca.adcs.surroundings import Surroundings  # noqa: PLC0415
    from certeasy.cli.init_templates import offered  # noqa: PLC0415

    with closing(Surroundings(settings, SystemClock())) as world:
        return offered(world, settings.common_name)
