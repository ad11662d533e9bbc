"""What a KDC's refusal means to an administrator."""

from datetime import timedelta

from msgspec import Struct

from certeasy.ca.adcs.identity import NotAuthenticated
from certeasy.ca.adcs.kdc import KdcRefused
from certeasy.ca.adcs.security import Refused


class _Means(Struct, frozen=True):
    """A cause and a remedy; `{account}`, `{service}` and `{skew}` are filled in."""

    cause: str
    remedy: str
    transient: bool = False


PREAUTH_FAILED = 24
MEANS = {
    6: _Means(
        "the domain does not know {account}",
        "`user` is the sAMAccountName, `domain` the DNS name of the domain",
    ),
    7: _Means(
        "nobody in the domain is known as {service}",
        "`host` is the CA's full DNS name, no alias and no address; see `setspn -L` of its"
        " computer account",
    ),
    8: _Means("{service} belongs to more than one account", "find them with `setspn -X`"),
    12: _Means(
        "the domain's policy refuses {account}",
        "look at its logon hours, its workstations, and authentication policies",
    ),
    14: _Means(
        "{account} and the domain have no type of encryption in common that is not forbidden",
        "set a new password (that makes AES keys), and msDS-SupportedEncryptionTypes to 24",
    ),
    18: _Means(
        "{account} is disabled, expired, or locked", "enable or unlock it in Active Directory"
    ),
    23: _Means(
        "the password of {account} has expired, or must be changed at the next logon",
        "set a new one, and `password never expires`; or use a keytab of an account that has it",
    ),
    PREAUTH_FAILED: _Means("the password or key of {account} is wrong", "{keys}"),
    37: _Means(
        "this machine's clock and the domain's differ by more than the domain allows{skew}",
        "have this machine take its time from the domain (NTP)",
        transient=True,
    ),
    41: _Means(
        "the ticket for {service} is another account's",
        "look for the same name at two accounts with `setspn -X`, and at DNS",
    ),
    68: _Means(
        "{account} is of another domain than the controllers asked",
        "correct `domain`, or `domain-controllers`",
    ),
}


def told(error: KdcRefused, account: str, service: str, *, keys: str = "") -> NotAuthenticated:
    """Return the refusal in an administrator's words. `keys`: the remedy if those are wrong."""
    means = MEANS.get(error.code)
    if means is None:
        return NotAuthenticated(
            error.symbol,
            f"the domain controller {error.at} refuses {service or account}",
            "look at the domain controller's security log",
        )
    filled = {
        "account": account,
        "service": service,
        "skew": "" if error.skew is None else f": the domain is {_apart(error.skew)}",
        "keys": keys,
    }
    return NotAuthenticated(
        error.symbol,
        means.cause.format_map(filled),
        means.remedy.format_map(filled),
        transient=means.transient,
    )


def of_a_ticket(refused: Refused, account: str, service: str) -> NotAuthenticated:
    """Return a server's refusal of who we are in an administrator's words.

    Nobody protects it: it may be anybody's.
    """
    means = MEANS.get(refused.number or 0)
    if means is None:
        remedy = "look at the security log of that machine"
        return NotAuthenticated(refused.symbol, f"{service}: {refused.cause}", remedy)
    filled = {"account": account, "service": service, "skew": "", "keys": ""}
    return NotAuthenticated(
        refused.symbol,
        means.cause.format_map(filled),
        means.remedy.format_map(filled),
        transient=means.transient,
    )


def _apart(skew: timedelta) -> str:
    seconds = abs(int(skew.total_seconds()))
    return f"{seconds} s {'ahead' if skew > timedelta() else 'behind'}"
