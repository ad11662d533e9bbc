"""Looking at what the domain's directory says: the account, the CA, its templates."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from cryptography import x509

from certeasy.ca.adcs import templates
from certeasy.ca.adcs.directory import NotRead
from certeasy.ca.adcs.findings import Finding, listed, shown
from certeasy.ca.adcs.templates import Unreadable, days
from certeasy.ca.adcs.world import SOON, Known, Seen, Subject, Unread, Wanted, World

_TO_ISSUE = "certsrv.msc, Certificate Templates, New, Certificate Template to Issue"


class Domain:
    """The directory, as one of the controllers shows it to us."""

    def __init__(self, subject: Subject, world: World, seen: Seen) -> None:
        self._subject = subject
        self._world = world
        self._seen = seen

    def bind(self) -> Finding:
        """Bind to the first controllers, one after the other, until one lets us in."""
        if self._subject.auth == "sspi":
            self._seen.broken.add("directory")
            return Finding(
                "directory",
                "warn",
                "with auth: sspi it is not read: neither the template nor the rights of the account"
                " are looked at",
                "look with certtmpl.msc and certsrv.msc at what docs/adcs.md says of them; or check"
                " once with auth: kerberos, as an account that may read, in a copy of the"
                " configuration",
            )
        errors: list[NotRead] = []
        for controller in self._seen.controllers[:4]:
            try:
                found = self._world.directory(controller)
            except NotRead as error:
                errors.append(error)
                continue
            self._seen.directory = found
            before = "".join(f" (not by {shown(each, 300)})" for each in found.before)
            return Finding("directory", "ok", f"{found.how}{before}")
        raise errors[0]

    def account(self) -> Finding:
        """See whether our account is in order."""
        assert self._seen.directory is not None
        user = self._subject.user
        if not user:
            return Finding("account", "skipped", "who this server runs as is not looked up")
        found = self._seen.directory.account(user)
        if found is None:
            return Finding(
                "account",
                "skipped",
                f"{user} is not of this domain, so its groups are not known, nor what it may do",
            )
        self._seen.account = found
        said = f"{shown(found.name)} ({found.sid}), with {len(found.sids)} SIDs that count"
        if found.disabled:
            return Finding(
                "account", "fail", f"{said}, is disabled", "enable it in Active Directory"
            )
        if found.password_expires is not None:
            left = found.password_expires - self._world.now()
            said += f"; its password expires in {days(max(left, timedelta()))}"
            if left < SOON:
                return Finding(
                    "account",
                    "warn",
                    said,
                    "set a new one (and a new keytab), or use a gMSA, or `password never expires`",
                )
        return Finding("account", "ok", said)

    def ca_object(self) -> Finding:
        """See whether the CA is registered in the forest, and where."""
        assert self._seen.directory is not None
        subject = self._subject
        found = self._seen.directory.services()
        same = [each for each in found if each.name.lower() == subject.ca_name.lower()]
        if not same:
            names = listed(f"{each.host}\\{each.name}" for each in found)
            return Finding(
                "ca-object",
                "fail",
                f"no enterprise CA of the forest is called {subject.ca_name}; there is"
                f" {names or 'none'}",
                "correct ca-name: it is the CA's common name, as certutil -CA shows it",
            )
        ours = self._seen.service = next(
            (each for each in same if each.host.lower() == subject.host.lower()), same[0]
        )
        if ours.host.lower() != subject.host.lower():
            return Finding(
                "ca-object",
                "warn",
                f"{subject.ca_name} is registered at {shown(ours.host)}, the settings have"
                f" {subject.host}",
                "set the host in ca-name (or host) to that name: tickets are for it",
            )
        return Finding(
            "ca-object", "ok", f"{subject.host}\\{subject.ca_name} is registered in the forest"
        )

    def ca_certificate(self) -> Finding:
        """Look at the certificate that the CA signs with now: the one that is valid longest."""
        assert self._seen.service is not None
        ends = {
            each: end
            for each in self._seen.service.certificates
            if (end := _end_of(each)) is not None
        }
        step = "ca-certificate"
        if not ends:
            return Finding(step, "warn", "the directory has no certificate of the CA")
        newest = self._seen.newest = max(ends, key=lambda each: ends[each])
        left = ends[newest] - self._world.now()
        said = f"the CA's certificate is valid until {ends[newest]:%Y-%m-%d}, {days(abs(left))}"
        if left <= timedelta():
            return Finding(step, "fail", f"{said} ago", "renew the CA's certificate")
        spans = [each.longest for each in self._subject.wanted if each.longest is not None]
        if left < max([SOON, *spans]):
            return Finding(
                step,
                "warn",
                f"{said} from now; no certificate outlives it",
                "renew the CA's certificate",
            )
        return Finding(step, "ok", f"{said} from now")

    def nt_auth(self) -> Finding:
        """Tell whether the CA's certificates log people on."""
        assert self._seen.directory is not None
        assert self._seen.service is not None
        trusted = set(self._seen.directory.trusted_for_logon())
        if trusted.intersection(self._seen.service.certificates):
            text = "certificates of this CA can log people on (NTAuth): mind what a template is for"
        else:
            text = "certificates of this CA log nobody on: it is not among those of NTAuth"
        return Finding("ntauth", "ok", text)

    def template(self, wanted: Wanted) -> Iterator[Finding]:
        """Yield what is found of one template."""
        name = wanted.template
        if self._seen.directory is None or self._seen.service is None:
            missing = "directory" if self._seen.directory is None else "ca-object"
            text = f"not looked at: {missing} comes first"
            yield Finding("template", "skipped", text, about=name)
            yield _about(self._published_by_the_ca(name), name)
            return
        try:
            attributes = self._seen.directory.template(name)
            template = None if attributes is None else templates.read(attributes)
        except NotRead as error:
            yield Finding("template", "fail", shown(error.cause), error.remedy, about=name)
            return
        except Unreadable as error:
            yield Finding("template", "fail", shown(str(error)), about=name)
            return
        if template is None:
            yield Finding(
                "template",
                "fail",
                f"the forest has no template called {name}",
                "certificate-template is the template's name, not its display name (certtmpl.msc,"
                " tab General)",
                "0x80094800",
                about=name,
            )
            return
        said = f"schema version {template.version}"
        yield Finding("template", "ok", f"{template.name}, {said}", about=name)
        for finding in (
            self._published(name),
            *templates.judge(template, wanted.rules, wanted.pending, wanted.longest),
            self._enroll_right(template),
            templates.others(template),
        ):
            yield _about(finding, name)

    def _published(self, name: str) -> Finding:
        assert self._seen.service is not None
        offered, ca = self._seen.service.templates, shown(self._seen.service.name)
        if name.lower() in {each.lower() for each in offered}:
            told = self._offered()
            if told is not None and name.lower() not in told:
                return Finding(
                    "published",
                    "warn",
                    f"{name} is to be offered by {ca}, which has not read it"
                    " from the directory yet",
                    "wait some minutes, or have it read now: certutil -pulse on the CA",
                    "0x80094800",
                )
            return Finding("published", "ok", f"{ca} offers {name}")
        return Finding(
            "published",
            "fail",
            f"{ca} does not offer {name}, but {listed(offered) or 'none'}",
            _TO_ISSUE,
            "0x80094800",
        )

    def _published_by_the_ca(self, name: str) -> Finding:
        """See whether the CA offers a template, where the directory is not there to ask."""
        told = self._offered()
        if told is None:
            return Finding("published", "skipped", "not looked at: the CA does not tell either")
        if name.lower() in told:
            return Finding("published", "ok", f"the CA offers {name}")
        return Finding(
            "published",
            "fail",
            f"the CA does not offer {name}, but {listed(sorted(told.values())) or 'none'}",
            _TO_ISSUE,
            "0x80094800",
        )

    def _offered(self) -> dict[str, str] | None:
        """Return which templates the CA itself says it offers, by their names in lower case; None:
        it does not tell."""
        if "bind" in self._seen.broken:
            return None
        try:
            return {name.lower(): shown(name) for name in self._world.offered()}
        except (Unread, *Known):
            return None

    def _enroll_right(self, template: templates.Template) -> Finding:
        if self._seen.account is None:
            return Finding("enroll-right", "skipped", "not looked at: account comes first")
        return templates.enroll_right(
            template, shown(self._seen.account.name), self._seen.account.sids
        )


def _about(finding: Finding, name: str) -> Finding:
    return Finding(
        finding.step, finding.status, finding.text, finding.remedy, finding.code, about=name
    )


def _end_of(certificate: bytes) -> datetime | None:
    try:
        return x509.load_der_x509_certificate(certificate).not_valid_after_utc
    except ValueError:
        return None
