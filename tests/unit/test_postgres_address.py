"""An address of a PostgreSQL that was mistyped: whatever is told of it, its password is not."""

import pytest

from certeasy.settings import DatabaseSettings
from certeasy.store import DatabaseUnfit
from certeasy.store.databases import engines, place_of


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://u:p%ssRET@host/x",
        "postgresql://u:SEC/RET@host/x",
        "postgresql://u:SEC@RET@host/x",
        "postgresql://u:SECRET@host:xRET/x",
        "postgresql://u:SECRET@[::1/x",
        "postgresql://host/x?password=SECRET&SECRET=1",
        "host=h user=u password=SEC RET",
        "host=h user=u password='SECRET",
    ],
)
def test_a_password_spelled_wrongly_is_in_no_message(dsn: str) -> None:
    for asked in (place_of, engines):
        with pytest.raises(DatabaseUnfit, match="%40 for @") as refused:
            asked(DatabaseSettings(driver="postgres", dsn=dsn))
        assert "SEC" not in str(refused.value)
        assert "RET" not in str(refused.value)
        assert refused.value.__context__ is None or refused.value.__suppress_context__


def test_what_is_told_of_an_address_is_server_and_database() -> None:
    dsn = "postgresql://u:%40SEC%2FRET@one,two:5433/x?sslmode=require"
    told = place_of(DatabaseSettings(driver="postgres", dsn=dsn))
    assert told == "PostgreSQL database x at one,two"
