"""The database's password, where it stands in a file of its own."""

from certeasy.settings import DatabaseSettings
from certeasy.store.errors import DatabaseUnfit

LONGEST = 4096


def password_of(database: DatabaseSettings) -> str | None:
    """Return the first line of `database.password-file`, or None where none is named.

    Raises DatabaseUnfit where it cannot be read, or is empty.
    """
    file = database.password_file
    if file is None:
        return None
    try:
        with file.open("rb") as opened:
            line = opened.readline(LONGEST).decode().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DatabaseUnfit(f"database.password-file {file} cannot be read: {error}") from None
    if not line:
        raise DatabaseUnfit(f"database.password-file {file} has no password in its first line")
    return line
