"""Looking at the way to a CA: who we are, names, ports, clocks, tickets."""

from datetime import timedelta

from certeasy.ca.adcs.findings import Finding, listed, shown
from certeasy.ca.adcs.world import Known, Seen, Subject, World, cause

KERBEROS, LDAP, LDAPS = 88, 389, 636
REFUSED_SKEW, NOTED_SKEW = timedelta(minutes=5), timedelta(minutes=1)


class Way:
    """Everything between here and the CA and the domain's controllers."""

    def __init__(self, subject: Subject, world: World, seen: Seen) -> None:
        self._subject = subject
        self._world = world
        self._seen = seen

    def identity(self) -> Finding:
        """Tell who we are; NTLM is mentioned."""
        said = self._world.identity()
        if self._subject.auth != "ntlm":
            return Finding("identity", "ok", said)
        return Finding(
            "identity",
            "warn",
            f"{said}: NTLM is weaker than Kerberos, and switched off in many domains",
            "auth: kerberos, with a keytab",
        )

    def ca_dns(self) -> Finding:
        """See whether the CA's name has addresses."""
        host = self._subject.host
        found = self._world.addresses(host)
        return Finding("ca-dns", "ok", f"{host} is {listed(found)}")

    def controllers(self) -> Finding:
        """See who the controllers of the domain are; NTLM asks the CA alone, which asks them."""
        try:
            self._seen.controllers = self._world.controllers()
        except Known as error:
            if self._subject.auth != "ntlm":
                raise
            self._seen.broken.add("controllers")
            return Finding(
                "controllers",
                "warn",
                f"{shown(cause(error), 300)}: with auth: ntlm certificates are issued without them,"
                " but the directory is not read, which has the template and who may use it",
                "list domain-controllers, or let this machine ask the domain's DNS",
            )
        return Finding("controllers", "ok", listed(self._seen.controllers))

    def ca_ports(self) -> Finding:
        """See whether the ports that the CA's transport needs are open."""
        subject = self._subject
        tcp = self._knocked(subject.host, subject.port or subject.mapper_port)
        pipe = self._knocked(subject.host, subject.smb_port)
        open_ones = [way for way, wrong in (("tcp", tcp), ("np", pipe)) if not wrong]
        said = (
            f"{subject.host}: {_port(subject.port or subject.mapper_port, tcp)},"
            f" {_port(subject.smb_port, pipe)}"
        )
        if subject.transport in open_ones or (subject.transport == "auto" and open_ones):
            return Finding("ca-ports", "ok", said)
        needed = {
            "tcp": f"TCP {subject.mapper_port} and the CA's RPC port (49152-65535, or the one that"
            " was fixed)",
            "np": f"TCP {subject.smb_port}",
        }
        wanted = needed["np" if subject.transport == "np" else "tcp"]
        return Finding(
            "ca-ports", "fail", said, f"let this machine reach {subject.host} at {wanted}"
        )

    def dc_ports(self) -> Finding:
        """The ports of the first few controllers; those that answer are asked first from now on."""
        needed = (LDAP, LDAPS) if self._subject.auth == "ntlm" else (KERBEROS, LDAP, LDAPS)
        told, good = [], []
        for controller in self._seen.controllers[:4]:
            closed = [port for port in needed if self._knocked(controller, port)]
            told.append(f"{controller}: {_ports(needed, closed)}")
            if needed[0] not in closed and not {LDAP, LDAPS} <= set(closed):
                good.append(controller)
        said = "; ".join(told)
        remedy = f"let this machine reach the domain's controllers at TCP {_numbers(needed)}"
        if not good:
            return Finding("dc-ports", "fail", said, remedy)
        rest = [each for each in self._seen.controllers if each not in good]
        self._seen.controllers = (*good, *rest)
        if len(good) < len(told):
            return Finding("dc-ports", "warn", said, remedy)
        return Finding("dc-ports", "ok", said)

    def _knocked(self, host: str, port: int) -> str:
        """Return why a port is closed; empty: it is open."""
        try:
            self._world.knock(host, port)
        except Known as error:
            return cause(error).removeprefix(f"{host} port {port}: ")
        return ""

    def clock(self) -> Finding:
        """See whether this clock is the controllers'."""
        controller = self._seen.controllers[0]
        theirs = self._world.time_of(controller)
        if theirs is None:
            return Finding("clock", "skipped", f"{controller} does not tell its time")
        ahead = self._world.now() - theirs
        apart = abs(ahead)
        seconds = int(apart.total_seconds())
        said = f"this clock and that of {controller} are {seconds} s apart"
        if apart >= NOTED_SKEW:
            said = f"this clock is {seconds} s {'ahead of' if ahead == apart else 'behind'} that"
            said += f" of {controller}; Kerberos refuses from 300 s on"
        remedy = "have this machine take its time from the domain's controllers (NTP)"
        if apart >= REFUSED_SKEW and self._subject.auth != "ntlm":
            return Finding("clock", "fail", said, remedy)
        if apart >= NOTED_SKEW:
            return Finding("clock", "warn", said, remedy)
        return Finding("clock", "ok", said)

    def ticket(self) -> Finding:
        """See whether the domain vouches for us to the CA."""
        if self._subject.auth != "kerberos":
            return Finding("ticket", "ok", f"auth: {self._subject.auth} needs none from us")
        host = self._subject.host
        services = ["host", "cifs"] if self._subject.transport == "np" else ["host"]
        for service in services:
            self._world.ticket(service, host)
        named = " and ".join(f"{service}/{host}" for service in services)
        return Finding("ticket", "ok", f"the domain vouches for us to {named}")


def _port(port: int, wrong: str) -> str:
    return f"{port} is closed ({shown(wrong, 120)})" if wrong else f"{port} is open"


def _ports(ports: tuple[int, ...], closed: list[int]) -> str:
    open_ones = [port for port in ports if port not in closed]
    told = [f"{_numbers(open_ones)} open"] if open_ones else []
    told += [f"{_numbers(closed)} closed"] if closed else []
    return ", ".join(told)


def _numbers(ports: tuple[int, ...] | list[int]) -> str:
    return ", ".join(map(str, ports))
