"""Which templates a CA offers, for somebody who is to choose one."""

from certeasy.ca.adcs.world import Known, Unread, World
from certeasy.cli.init_looks import Unusable


def offered(world: World, ca_name: str) -> tuple[str, ...]:
    """Return the templates that the directory has published at a CA, else those that the CA itself
    tells of. Raises Unusable where neither can be asked."""
    try:
        return _published(world, ca_name)
    except (Unread, *Known) as error:
        first = _said(error)
    try:
        return tuple(sorted(world.offered(), key=str.lower))
    except (Unread, *Known) as error:
        raise Unusable(
            f"the directory does not tell ({first}), nor the CA ({_said(error)})"
        ) from None


def _published(world: World, ca_name: str) -> tuple[str, ...]:
    error: Exception | None = None
    for controller in world.controllers()[:4]:
        try:
            directory = world.directory(controller)
        except Known as failed:
            error = error or failed
            continue
        try:
            services = directory.services()
        finally:
            directory.close()
        names = {
            name
            for service in services
            if service.name.lower() == ca_name.lower()
            for name in service.templates
        }
        return tuple(sorted(names, key=str.lower))
    raise error or Unread("no domain controller is known")


def _said(error: Exception) -> str:
    return str(getattr(error, "cause", "") or error)
