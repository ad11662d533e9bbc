"""The server's own certificates, one per bundle: read from files, or issued by one of the
authorities, or by another ACME server.

What is issued for the server is an event like any other certificate. It is kept with its key among
the database's secrets, wrapped, and shown again at the next start, until it is due. Never a moment
without one:

1. A start waits for an authority only if there is nothing to show. For another ACME server it does
   not wait at all, which may have to see this one first: until there is a certificate, one is shown
   that is signed by itself, and said so.
2. What cannot be renewed stays in use, beyond its end if need be: a renewal that failed is tried
   again after a while, and is told at once, as long as there is time to do something about it.
3. Who cannot issue is not asked more than once an hour, in the end; and what was just renewed is
   not renewed again within an hour, whatever it is like.
"""

import hashlib
import threading
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path

from msgspec import Struct

from certeasy.ca import Authority
from certeasy.clock import Clock
from certeasy.commit import PoisonousCommand
from certeasy.commit import Unavailable as NotCommitted
from certeasy.log import logger
from certeasy.settings import TlsBundle, TlsSettings
from certeasy.store import DatabaseUnavailable
from certeasy.tls.asking import Asking
from certeasy.tls.by_acme import ByAcme
from certeasy.tls.material import (
    NoCertificate,
    OwnCertificate,
    kept,
    leaf_of,
    placeholder,
    taken,
)
from events.nodes import TlsCertificateInstalled

__all__ = ["NoCertificate", "OwnCertificate", "OwnCertificates"]

log = logger("tls")
Install = Callable[[TlsCertificateInstalled, bytes], None]
Keep = Callable[[str], bytes | None]

FIRST_REST, LONGEST_REST = timedelta(minutes=1), timedelta(hours=1)
"""Between two attempts at a renewal that fails."""
UNATTENDED = 4
"""Files that nobody has replaced when a fourth of their certificate's life is left are told of."""
LONGEST_OF_OTHERS = timedelta(days=1)
"""So long an ACME server may have itself left alone."""


class _Failure(Struct, frozen=True):
    """A renewal that failed `times` in a row; not before `again` is it tried once more."""

    reason: str
    times: int
    again: datetime


class OwnCertificates:
    """All bundles, kept fresh. One thread renews them; anybody may ask how they are."""

    def __init__(
        self,
        settings: TlsSettings,
        authorities: Mapping[str, Authority],
        clock: Clock,
        server_id: str,
        install: Install,
        keep: Keep,
        by_acme: Mapping[str, ByAcme] | None = None,
    ) -> None:
        """`install` commits the fact that a certificate was issued for the server, and in the same
        moment the secret that it is kept as; `keep` returns a bundle's, if there is one. `by_acme`
        asks other ACME servers, for the bundles of these names.
        """
        self._settings = settings
        self._clock = clock
        self._install = install
        self._keep = keep
        self._held: dict[str, OwnCertificate] = {}
        self._read: dict[str, tuple[int, ...]] = {}
        self._failures: dict[str, _Failure] = {}
        self._renewed: dict[str, datetime] = {}
        self._looking = threading.Lock()
        self._by_acme = dict(by_acme or {})
        self._asking = {
            bundle.name: Asking(bundle, authority, server_id)
            for bundle in settings.bundles
            if (authority := authorities.get(bundle.authority or "")) is not None
        }

    def all(self) -> list[OwnCertificate]:
        """Return a certificate for every bundle: what is held or was kept, else read or issued now.

        Raises NoCertificate where a bundle has none.
        """
        for bundle in self._settings.bundles:
            if bundle.name not in self._held:
                self._held[bundle.name] = self._first(bundle)
        return list(self._held.values())

    def refresh(self) -> bool:
        """Look whether files changed and whether a renewal is due; return whether anything is new.

        What cannot be renewed is kept as it is: an old certificate is better than none. While one
        looks, a second one has nothing to do.
        """
        if not self._looking.acquire(blocking=False):
            return False
        try:
            return self._refresh()
        finally:
            self._looking.release()

    def _refresh(self) -> bool:
        changed = False
        for bundle in self._settings.bundles:
            failure = self._failures.get(bundle.name)
            if failure is not None and self._clock.now() < failure.again:
                continue
            try:
                if self._is_due(bundle):
                    own = self._obtain(bundle)
                    if own is None:
                        continue  # it is being asked for
                    self._held[bundle.name] = own
                    changed = True
                    log.info("bundle %s: a new certificate is in use", bundle.name)
                self._failures.pop(bundle.name, None)
            except NoCertificate as error:
                self._failed(bundle, str(error), error.rest)
            except (DatabaseUnavailable, NotCommitted, PoisonousCommand) as error:
                self._failed(bundle, f"bundle {bundle.name}: it cannot be recorded: {error}")
        return changed

    # -- how they are --------------------------------------------------------------------------

    @property
    def bundles(self) -> tuple[str, ...]:
        """The names of all of them."""
        return tuple(bundle.name for bundle in self._settings.bundles)

    def not_after(self, name: str) -> datetime | None:
        """Return when a bundle's certificate ends; None: it has none yet."""
        held = self._held.get(name)
        return None if held is None else held.not_after

    def failing(self, name: str) -> str | None:
        """Return why a bundle's certificate is not renewed, in a sentence; None: all is well."""
        held, failure = self._held.get(name), self._failures.get(name)
        if held is None:
            return None
        left = held.not_after - self._clock.now()
        if held.placeholder:
            why = "" if failure is None else f"; {failure.reason}"
            return f"{_none_yet(name, self._issuer_of(name))}{why}"
        if failure is not None:
            return f"{failure.reason}; the certificate in use {_told(held, left)}"
        if not held.authority and left < held.lifetime / UNATTENDED:
            return f"the certificate in use {_told(held, left)}, and its files are not replaced"
        return None

    def ended(self) -> str | None:
        """Return which certificate no client takes, since it has ended or is none; None: all are
        well."""
        now = self._clock.now()
        for name, held in list(self._held.items()):
            if held.placeholder:
                return _none_yet(name, self._issuer_of(name))
            if held.not_after <= now:
                return f"the certificate of bundle {name} has ended, on {held.not_after:%Y-%m-%d}"
        return None

    def stop(self) -> None:
        """Give up what is under way."""
        for asked in self._by_acme.values():
            asked.stop()

    # -- keeping them fresh --------------------------------------------------------------------

    def _first(self, bundle: TlsBundle) -> OwnCertificate:
        """Return what was kept, whatever is to be said of it; else what can be had now."""
        if bundle.mode == "files":
            return self._from_files(bundle)
        before = self._kept(bundle)
        fits = before is not None and self._fits(bundle, before)
        if before is not None and fits and before.not_after > self._clock.now():
            return before  # (1): if it is due, it is renewed in a moment
        if bundle.name in self._by_acme:
            if before is not None:
                return before  # (2)
            log.error("%s", _none_yet(bundle.name, self._issuer(bundle)))
            return placeholder(bundle.hosts, self._clock.now())
        try:
            return self._from_authority(bundle)
        except NoCertificate as error:
            if before is None:
                raise
            self._failed(bundle, str(error))
            return before  # (2)

    def _failed(self, bundle: TlsBundle, reason: str, wanted: timedelta | None = None) -> None:
        """Remember that a renewal failed, and tell it; of files, when there is something new. So
        long as is `wanted`, nobody is asked again."""
        before = self._failures.get(bundle.name)
        times = 1 if before is None else before.times + 1
        rest = min(FIRST_REST * 2 ** min(times - 1, 16), LONGEST_REST)
        rest = max(rest, min(wanted or rest, LONGEST_OF_OTHERS))
        if bundle.mode == "files":
            rest = timedelta()
        self._failures[bundle.name] = _Failure(reason, times, self._clock.now() + rest)
        if rest or before is None or before.reason != reason:
            held = self._held.get(bundle.name)
            stays = "; the one signed by itself is shown"
            if held is not None and not held.placeholder:
                end = f"{held.not_after:%Y-%m-%d %H:%M} UTC"
                stays = f"; the certificate in use stays, until {end}"
            log.error("%s%s", reason, stays)

    def _is_due(self, bundle: TlsBundle) -> bool:
        if bundle.mode == "files":
            return self._read.get(bundle.name) != _stamp(bundle)
        held = self._held.get(bundle.name)
        if held is None or not self._fits(bundle, held):
            return True
        last = self._renewed.get(bundle.name)
        if last is not None and self._clock.now() < last + min(LONGEST_REST, held.lifetime / 4):
            return False  # (3)
        return not self._is_fresh(bundle, held)

    def _is_fresh(self, bundle: TlsBundle, own: OwnCertificate) -> bool:
        """Whether a certificate is the bundle's, and is not to be renewed yet: `renew-before` its
        end, but never in the first half of its life; or as an ACME server advises."""
        if not self._fits(bundle, own):
            return False
        if (asked := self._by_acme.get(bundle.name)) is not None:
            return not asked.is_due(own, self._settings.renew_before)
        before = min(self._settings.renew_before, own.lifetime / 2)
        return own.not_after - self._clock.now() >= before

    def _fits(self, bundle: TlsBundle, own: OwnCertificate) -> bool:
        return (set(own.hosts), own.authority) == (set(bundle.hosts), self._issuer(bundle))

    def _issuer(self, bundle: TlsBundle) -> str | None:
        """Return who issues a bundle's certificate: an authority's name, or a directory's URL."""
        asked = self._by_acme.get(bundle.name)
        return bundle.authority if asked is None else asked.issuer

    def _issuer_of(self, name: str) -> str | None:
        return next(self._issuer(each) for each in self._settings.bundles if each.name == name)

    def _obtain(self, bundle: TlsBundle) -> OwnCertificate | None:
        """Return another certificate for a bundle; None: it is being asked for."""
        if bundle.mode == "files":
            return self._from_files(bundle)
        held = self._held.get(bundle.name)
        found = self._kept(bundle)
        is_other = found is not None and (held is None or found.chain_pem != held.chain_pem)
        if found is not None and is_other and self._is_fresh(bundle, found):
            return found  # another node has renewed it
        if bundle.name in self._by_acme:
            return self._from_acme(bundle, held)
        return self._from_authority(bundle)

    def _kept(self, bundle: TlsBundle) -> OwnCertificate | None:
        secret = self._keep(bundle.name)
        if secret is None:
            return None
        found = taken(secret)
        if found is None:
            log.error(
                "bundle %s: what was kept of it cannot be read; another is asked for", bundle.name
            )
        return found

    def _from_files(self, bundle: TlsBundle) -> OwnCertificate:
        certificate, key = bundle.certificate, bundle.key
        if certificate is None or key is None:
            raise NoCertificate(f"bundle {bundle.name}: mode files needs `certificate` and `key`")
        try:
            stamp = _stamp(bundle)
            chain, secret = certificate.read_bytes(), key.read_bytes()
            leaf = leaf_of(chain, secret)
        except (OSError, ValueError) as error:
            raise NoCertificate(f"bundle {bundle.name}: {error}") from error
        now, end = self._clock.now(), leaf.not_valid_after_utc
        held = self._held.get(bundle.name)
        if held is not None and not leaf.not_valid_before_utc <= now < end and now < held.not_after:
            word = f"has ended, {end:%Y-%m-%d}" if end <= now else "is not valid yet"
            raise NoCertificate(f"bundle {bundle.name}: what {certificate} has now {word}")
        self._read[bundle.name] = stamp
        return OwnCertificate(chain, secret, bundle.hosts, leaf.not_valid_before_utc, end)

    def _from_authority(self, bundle: TlsBundle) -> OwnCertificate:
        asking = self._asking.get(bundle.name)
        if asking is None:
            raise NoCertificate(f"bundle {bundle.name}: there is no authority {bundle.authority!r}")
        own, leaf = asking.certificate(self._clock.now())
        self._record(bundle, own, leaf)
        asking.recorded()
        return own

    def _from_acme(self, bundle: TlsBundle, held: OwnCertificate | None) -> OwnCertificate | None:
        asked = self._by_acme[bundle.name]
        obtained = asked.certificate(held)
        if obtained is None:
            return None
        own, leaf = obtained
        self._record(bundle, own, leaf)
        asked.recorded()
        return own

    def _record(self, bundle: TlsBundle, own: OwnCertificate, leaf: bytes) -> None:
        self._install(_fact(bundle, own, leaf), kept(own))
        self._renewed[bundle.name] = self._clock.now()


def _none_yet(name: str, issuer: str | None) -> str:
    """Return that a bundle has no certificate yet."""
    return (
        f"bundle {name}: until {issuer} has issued a certificate, one is shown that is signed by"
        " itself, which no client trusts"
    )


def _told(own: OwnCertificate, left: timedelta) -> str:
    """Return when a certificate ends, as people count."""
    day = f"{own.not_after:%Y-%m-%d %H:%M} UTC"
    if left <= timedelta():
        return f"has ended, {day}"
    return f"ends {day}, in {left.days} days" if left.days else f"ends {day}, in hours"


def _fact(bundle: TlsBundle, own: OwnCertificate, der: bytes) -> TlsCertificateInstalled:
    return TlsCertificateInstalled(
        bundle=bundle.name,
        authority=own.authority,
        hosts=list(bundle.hosts),
        sha256=hashlib.sha256(der).hexdigest(),
        not_after=f"{own.not_after:%Y-%m-%dT%H:%M:%SZ}",
        certificate=der,
    )


def _stamp(bundle: TlsBundle) -> tuple[int, ...]:
    """Return what changes when the bundle's files do."""
    paths = [path for path in (bundle.certificate, bundle.key) if isinstance(path, Path)]
    try:
        return tuple(path.stat().st_mtime_ns for path in paths)
    except OSError as error:
        raise NoCertificate(f"bundle {bundle.name}: {error}") from error
