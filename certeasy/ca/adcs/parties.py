"""Who is asked for an authority of the type `adcs`, as its settings have it."""

from certeasy.ca.adcs.controllers import Controllers
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
