"""The two ends of an authority of the type `adcs`, out of its settings: who is asked, who asks.

Each authority has its own; nothing is shared between two of them.
"""

from pathlib import Path

from certeasy.ca.adcs.controllers import Controllers
from certeasy.ca.adcs.deadline import Bounded
from certeasy.ca.adcs.identity import Identity, NotAuthenticated, NtlmIdentity
from certeasy.ca.adcs.kdc import Kdc
from certeasy.ca.adcs.kerberos import KerberosIdentity
from certeasy.ca.adcs.logins import Login, by_ccache, by_keytab, by_password
from certeasy.ca.adcs.transport import Target
from certeasy.clock import Clock
from certeasy.settings.adcs import AdcsSettings


def target(settings: AdcsSettings) -> Target:
    """Return where the CA is, and how it is reached."""
    return Target(
        host=settings.server,
        address=settings.address or "",
        transport=settings.transport,
        port=settings.port,
        mapper_port=settings.endpoint_mapper_port,
        smb_port=settings.smb_port,
        connect_timeout=settings.connect_timeout.total_seconds(),
    )


def controllers(settings: AdcsSettings, clock: Clock) -> Controllers:
    """Return the domain's controllers: those that are listed, or those that the DNS names."""
    return Controllers(domain(settings), settings.domain_controllers, clock=clock)


def domain(settings: AdcsSettings) -> str:
    """Return the domain's name: the one that was set, or the one that the CA is in."""
    return settings.domain or settings.server.partition(".")[2]


def identity(settings: AdcsSettings, known: Controllers, clock: Clock) -> Identity:
    """Return who asks. Raises NotAuthenticated where that cannot be on this machine."""
    if settings.auth == "sspi":
        raise NotAuthenticated(
            "", "auth: sspi is for Windows, where the system knows who we are", "auth: kerberos"
        )
    user, name = settings.user or "", domain(settings)
    if settings.auth == "ntlm":
        return NtlmIdentity(user, name, settings.password_file or Path())
    return KerberosIdentity(user, name, _login(settings, user), Kdc(known, clock, Bounded()), clock)


def _login(settings: AdcsSettings, user: str) -> Login:
    name = domain(settings)
    if settings.keytab is not None:
        return by_keytab(user, name, settings.keytab)
    if settings.ccache is not None:
        return by_ccache(user, name, settings.ccache)
    return by_password(user, name, settings.password_file or Path())
