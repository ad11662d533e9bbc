"""What holds for every test: how hard Hypothesis looks for counter-examples, and a log of its own.

`--hypothesis-profile=night` looks long; on CI the examples are the same at each run.
"""

import logging
import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

from certeasy.log import ROOT
from tests.make.client_matrix import pytest_terminal_summary
from tests.make.postgres import Postgres, a_postgres, gone

__all__ = ["pytest_terminal_summary"]

# No deadlines: on a shared machine they tell how busy it is, not how good the code.
settings.register_profile("dev", deadline=None, max_examples=100)
settings.register_profile("ci", deadline=None, max_examples=100, derandomize=True, print_blob=True)
settings.register_profile("night", deadline=None, max_examples=5000)
settings.load_profile("ci" if os.environ.get("CI") else "dev")  # noqa: TID251 - not the server's


@pytest.fixture(autouse=True)
def _log_given_back() -> Iterator[None]:
    """Leave the log as it was found: what one test sets up, the next would hear twice or not."""
    log = logging.getLogger(ROOT)
    level, propagate, handlers = log.level, log.propagate, log.handlers[:]
    yield
    for each in set(log.handlers) - set(handlers):
        each.close()
    log.handlers[:] = handlers
    log.setLevel(level)
    log.propagate = propagate


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A running PostgreSQL, for all tests of this process; nothing is started before one asks."""
    server = a_postgres()
    yield server
    gone(server)
