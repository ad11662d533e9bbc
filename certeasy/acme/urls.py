"""Where everything is: URLs are built from the configured address, never from a request.

Clients take URLs from the directory and from answers, so only the first `server.url` is ever told.
They may come to the others as well: a request that names itself by any of them is at home.
RFC 8555 section 7.1.
"""

import re
from collections.abc import Sequence

DIRECTORY = "/acme/directory"
NEW_NONCE = "/acme/new-nonce"
NEW_ACCOUNT = "/acme/new-account"
NEW_ORDER = "/acme/new-order"
NEW_AUTHORIZATION = "/acme/new-authz"
REVOKE_CERT = "/acme/revoke-cert"
RENEWAL_INFO = "/acme/renewal-info"
KEY_CHANGE = "/acme/key-change"
ACCOUNT = "/acme/acct/"
ORDER = "/acme/order/"
FINALIZE = "/acme/finalize/"
AUTHORIZATION = "/acme/authz/"
CHALLENGE = "/acme/challenge/"
CERTIFICATE = "/acme/cert/"
LIMITS = "/acme/limits"
CURSOR = "cursor"
"""The member of a query that says behind which order a page of the list begins."""

_ID = re.compile("[0-9a-v]{26}")


class Urls:
    """The URLs of one server; `bases` are `https://host[:port]`, the one to be told first.

    `issuers` are the names by which records in the DNS mean it.
    """

    def __init__(self, bases: Sequence[str], issuers: Sequence[str] = ()) -> None:
        self._bases = tuple(bases)
        self.issuers = tuple(issuers)
        base = self._base = bases[0]
        self.directory = base + DIRECTORY
        self.new_nonce = base + NEW_NONCE
        self.new_account = base + NEW_ACCOUNT
        self.new_order = base + NEW_ORDER
        self.new_authorization = base + NEW_AUTHORIZATION
        self.revoke_cert = base + REVOKE_CERT
        self.renewal_info = base + RENEWAL_INFO
        self.key_change = base + KEY_CHANGE
        self.limits = base + LIMITS
        self._account_prefixes = tuple(one + ACCOUNT for one in bases)

    def accounts(self, account_id: str) -> tuple[str, ...]:
        """Return every URL that an account has, the one that clients are told first."""
        return tuple(prefix + account_id for prefix in self._account_prefixes)

    def account(self, account_id: str) -> str:
        """Return the URL of an account, which is also its `kid`."""
        return f"{self._base}{ACCOUNT}{account_id}"

    def orders(self, account_id: str, after: str = "") -> str:
        """Return the URL of the list of an account's orders, or of its page behind an order."""
        page = f"?{CURSOR}={after}" if after else ""
        return f"{self._base}{ACCOUNT}{account_id}/orders{page}"

    def order(self, order_id: str) -> str:
        """Return the URL of an order."""
        return f"{self._base}{ORDER}{order_id}"

    def finalize(self, order_id: str) -> str:
        """Return where an order's certificate signing request goes."""
        return f"{self._base}{FINALIZE}{order_id}"

    def authorization(self, order_id: str, number: int) -> str:
        """Return the URL of an order's authorization; they count from 0."""
        return f"{self._base}{AUTHORIZATION}{order_id}-{number}"

    def challenge(self, order_id: str, authorization: int, number: int) -> str:
        """Return the URL of an authorization's challenge; they count from 0."""
        return f"{self._base}{CHALLENGE}{order_id}-{authorization}-{number}"

    def certificate(self, order_id: str, chain: int = 0) -> str:
        """Return where the certificate of an order is fetched, with another chain if numbered."""
        return f"{self._base}{CERTIFICATE}{order_id}" + (f"/{chain}" if chain else "")

    def is_at(self, path: str, url: str) -> bool:
        """Tell whether `url` names what is asked for at `path`, by any of our addresses."""
        return any(url == base + path for base in self._bases)

    def account_of(self, kid: str) -> str | None:
        """Return the account id in a `kid`, or None if it is no account URL of ours."""
        for prefix in self._account_prefixes:
            if kid.startswith(prefix):
                account_id = kid[len(prefix) :]
                return account_id if _ID.fullmatch(account_id) else None
        return None


def an_id(text: str) -> str | None:
    """Return the account's or order's id that a part of a path is, or None."""
    return text if _ID.fullmatch(text) else None


def authorization_id(text: str) -> tuple[str, int] | None:
    """Return (order id, number) of `<order>-<n>`, or None. Numbers have one spelling."""
    order, *numbers = text.split("-")
    if len(numbers) != 1 or not _ID.fullmatch(order) or not _is_number(numbers[0]):
        return None
    return order, int(numbers[0])


def challenge_id(text: str) -> tuple[str, int, int] | None:
    """Return (order id, authorization, number) of `<order>-<n>-<m>`, or None."""
    order, *numbers = text.split("-")
    if len(numbers) != 2 or not _ID.fullmatch(order) or not all(map(_is_number, numbers)):  # noqa: PLR2004 - n and m
        return None
    return order, int(numbers[0]), int(numbers[1])


def chain_number(text: str) -> int | None:
    """Return the number of a chain, or None; 0 is the one that is shown without a number."""
    return int(text) if _is_number(text) else None


_NUMBER = re.compile("0|[1-9][0-9]{0,3}")


def _is_number(text: str) -> bool:
    return _NUMBER.fullmatch(text) is not None
