"""One server per test process, for real ACME clients to speak to.

`CERTEASY_TEST_SERVER=pebble` drives the same clients against Pebble: where one fails against both,
it is our driver that is wrong. Debian's Pebble knows no renewal information and no profiles.
"""

import os
from collections.abc import Callable, Iterator

import pytest

from tests.make.acme_server import AcmeServer
from tests.make.certeasy_server import certeasy
from tests.make.client_matrix import PROPERTY
from tests.make.pebble import pebble

SERVERS = {"certeasy": certeasy, "pebble": pebble}
CHOSEN = os.environ.get("CERTEASY_TEST_SERVER", "certeasy")  # noqa: TID251 - not the server's

# acme.sh is in no package registry: whoever has a copy says where it is.
collect_ignore = [] if os.environ.get("CERTEASY_ACME_SH") else ["test_acme_sh.py"]  # noqa: TID251 - not the server's


@pytest.fixture(scope="session")
def acme_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AcmeServer]:
    """A running ACME server."""
    with SERVERS[CHOSEN](tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture
def exercised(record_property: Callable[[str, object], None]) -> Callable[..., None]:
    """Tell what is driven: client, version, challenge, then each of its features."""

    def tell(client: str, version: str, challenge: str, *features: str) -> None:
        record_property(PROPERTY, [client, version, challenge, *features])

    return tell
