"""Whether an enterprise CA can be used: one look at everything between here and a certificate.

Read-only: nothing is submitted, nothing is changed, neither here nor there. Each step looks at one
thing and says what it saw in a sentence, with what is to be done if it is wrong. A step that needs
another which failed is skipped, and names it: the first failure is the one to mend.

    identity      who we are, by which means
    ca-dns        the CA's name has an address
    controllers   the domain's controllers are known
    ca-ports      the CA's ports are open from here
    dc-ports      and those of the controllers
    clock         this clock is the domain's
    ticket        the domain vouches for us to the CA (Kerberos)
    directory     a controller lets us read
    account       the account is in order
    ca-object     the CA is registered, under the name and host that were set
    bind          the CA answers us, protected
    ca-name       and knows the name that it was called by
    ca-certificate, ntauth        of the CA itself
    issuers       what certificates are verified under is known
    template, published, subject, eku, key, approval, ra-signatures, private-key, validity,
    enroll-right, others          of each template that the settings name
    request-right, revoke-right, edit-flags, interface-flags    of the CA, where they are readable

How the world is asked is `World`'s; what is made of its answers is decided by `Way` (the first
seven), `Domain` (what the directory says) and `Authority` (what the CA says).
"""

from collections.abc import Callable, Iterator

from certeasy.ca.adcs import reaching
from certeasy.ca.adcs.deadline import Late
from certeasy.ca.adcs.directory import NotRead
from certeasy.ca.adcs.errors import WireError, hexadecimal
from certeasy.ca.adcs.findings import Finding, shown
from certeasy.ca.adcs.identity import NotAuthenticated
from certeasy.ca.adcs.look_at_ca import Authority
from certeasy.ca.adcs.look_at_directory import Domain
from certeasy.ca.adcs.look_at_way import Way
from certeasy.ca.adcs.world import Seen, Subject, World


class Preflight:
    """One look at one authority."""

    def __init__(self, subject: Subject, world: World) -> None:
        self._subject = subject
        self._seen = Seen()
        self._way = Way(subject, world, self._seen)
        self._domain = Domain(subject, world, self._seen)
        self._ca = Authority(subject, world, self._seen)

    def run(self) -> Iterator[Finding]:
        """Yield what is found, step by step, as it is found."""
        try:
            for step, needs, look in self._steps():
                missing = next((each for each in needs if each in self._seen.broken), None)
                if missing is not None:
                    self._seen.broken.add(step)
                    yield Finding(step, "skipped", f"not looked at: {missing} comes first")
                    continue
                finding = self._looked(step, look)
                if finding.status in {"fail", "skipped"}:
                    self._seen.broken.add(step)
                yield finding
            for wanted in self._subject.wanted:
                yield from self._domain.template(wanted)
            yield from self._ca.rights()
        finally:
            if self._seen.directory is not None:
                self._seen.directory.close()

    def _steps(self) -> tuple[tuple[str, tuple[str, ...], Callable[[], Finding]], ...]:
        return (
            ("identity", (), self._way.identity),
            ("ca-dns", (), self._way.ca_dns),
            ("controllers", (), self._way.controllers),
            ("ca-ports", ("ca-dns",), self._way.ca_ports),
            ("dc-ports", ("controllers",), self._way.dc_ports),
            ("clock", ("dc-ports",), self._way.clock),
            ("ticket", ("identity", "dc-ports"), self._way.ticket),
            ("directory", ("identity", "dc-ports"), self._domain.bind),
            ("account", ("directory",), self._domain.account),
            ("ca-object", ("directory",), self._domain.ca_object),
            ("bind", ("identity", "ca-ports"), self._ca.bind),
            ("ca-name", ("bind",), self._ca.ca_name),
            ("ca-certificate", ("ca-object",), self._domain.ca_certificate),
            ("issuers", (), self._ca.issuers),
            ("ntauth", ("ca-object",), self._domain.nt_auth),
        )

    def _looked(self, step: str, look: Callable[[], Finding]) -> Finding:
        """Return what a step found, or how it failed."""
        try:
            return look()
        except (NotRead, NotAuthenticated) as error:
            return Finding(step, "fail", shown(error.cause, 400), error.remedy, error.code)
        except WireError as error:
            code = "" if error.code is None else hexadecimal(error.code)
            text = f"{error.layer}: {error.cause}"
            return Finding(step, "fail", shown(text, 400), reaching.remedy(error), code)
        except Late as error:
            return Finding(step, "fail", shown(str(error)), "see what swallows packets on the way")
