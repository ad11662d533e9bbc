"""The identity that an authority's settings describe."""

from certeasy.ca.adcs.deadline import Bounded
from certeasy.ca.adcs.identity import Identity, NtlmIdentity
from certeasy.clock import Clock
from certeasy.settings.adcs import AdcsSettings


def identity_of(settings: AdcsSettings, clock: Clock) -> Identity:
    """Return it. No file is read and nobody is asked before it has to show something.

    The settings were checked before: what `auth` needs is there.
    """
    user, domain = settings.user or "", settings.domain or ""
    if settings.auth == "sspi":
        from certeasy.ca.adcs.sspi import SspiIdentity  # noqa: PLC0415 - only where it is used

        return SspiIdentity()
    if settings.auth == "ntlm":
        assert settings.password_file is not None
        return NtlmIdentity(user, domain, settings.password_file)
    # impacket's ASN.1 and ciphers are imported only where Kerberos is spoken.
    from certeasy.ca.adcs.controllers import Controllers  # noqa: PLC0415
    from certeasy.ca.adcs.kdc import Kdc  # noqa: PLC0415
    from certeasy.ca.adcs.kerberos import KerberosIdentity  # noqa: PLC0415
    from certeasy.ca.adcs.logins import Login, by_ccache, by_keytab, by_password  # noqa: PLC0415

    login: Login
    if settings.keytab is not None:
        login = by_keytab(user, domain, settings.keytab)
    elif settings.ccache is not None:
        login = by_ccache(user, domain, settings.ccache)
    else:
        assert settings.password_file is not None
        login = by_password(user, domain, settings.password_file)
    controllers = Controllers(domain, settings.domain_controllers, clock=clock)
    kdc = Kdc(controllers, clock, Bounded())
    return KerberosIdentity(user, domain, login, kdc, clock)
