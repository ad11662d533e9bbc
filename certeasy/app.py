"""The one place where everything is put together.

`Application` is a node: `open` takes it into service step by step, `close` out of it in the reverse
order. A test builds it as `serve` does, with another clock if it likes.
"""

import math
import threading
from collections.abc import Callable, Collection, Iterable
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from certeasy import config
from certeasy.acme.app import Site
from certeasy.acme.app import build as build_acme
from certeasy.acme.caa import CaaAgain, Obeyed
from certeasy.acme.nonces import MemoryRedeemedNonces, Nonces
from certeasy.acme.urls import Urls
from certeasy.admin import health, local
from certeasy.admin.desk import Desk, Office
from certeasy.admin.server import LocalDoor
from certeasy.ca import Authority
from certeasy.ca.breaker import Breakers
from certeasy.ca.embedded import EmbeddedAuthority, EmbeddedKeys, generate
from certeasy.clock import Clock, SystemClock
from certeasy.cluster import boot, identity, room
from certeasy.cluster.files import openness, publish
from certeasy.commit import Command, Committer, Standing, Unavailable
from certeasy.commit.subjects import Subjects
from certeasy.decide import authorities as deciding
from certeasy.decide import eab
from certeasy.decide.decision import Decision, Reader
from certeasy.decide.policy import Policies
from certeasy.ids import Ids, RandomIds
from certeasy.jobs import schedule
from certeasy.jobs.counts import COUNT, Counts
from certeasy.jobs.expiry import Expiry
from certeasy.jobs.figures import Figures
from certeasy.jobs.health import PROBE, Health
from certeasy.jobs.issuance import Issuance
from certeasy.jobs.leases import MemoryLeases
from certeasy.jobs.license import LOOK, REFRESH, Licensing
from certeasy.jobs.ownership import Ownership
from certeasy.jobs.refusals import Refusals
from certeasy.jobs.retention import Retention
from certeasy.jobs.revocation import Revoking
from certeasy.jobs.samples import MemorySamples
from certeasy.jobs.schedule import Schedule
from certeasy.jobs.twins import Twins
from certeasy.jobs.validation import Validation
from certeasy.jobs.workers import Perform, Workers
from certeasy.licensing.seats import Seats
from certeasy.licensing.terms import Terms
from certeasy.limits.buckets import MemoryBuckets
from certeasy.limits.clients import Limits
from certeasy.log import logger
from certeasy.metrics import Gauge, Metrics, told
from certeasy.notices import Notices, Sender, Trouble
from certeasy.notices.checks import Check, troubles
from certeasy.notices.overdue import overdue
from certeasy.settings import (
    AuthoritySettings,
    EmbeddedSettings,
    Settings,
    TlsSettings,
    root_file,
)
from certeasy.settings.adcs import AdcsCliSettings, AdcsSettings
from certeasy.store import DatabaseUnavailable
from certeasy.tls.by_acme import BY_ACME, ByAcme, account_key, account_secret, directory_of
from certeasy.tls.material import secret_name
from certeasy.tls.own import OwnCertificates
from certeasy.tls.showing import Listen, Showing, no_listener
from certeasy.validate import Validator
from certeasy.validate.caa import Caa
from certeasy.validate.kinds import validators_of
from certeasy.validate.resolve import Resolver
from events.nodes import SettingsLoaded, TlsCertificateInstalled
from projections.jobs import ISSUE, REVOKE, TWINS, VALIDATE, Job
from projections.orders import Order

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

    import falcon

NONCE_SECRET = 32
STARTING, WRITER, STOPPING = ROLES = ("starting", "writer", "stopping")
"""What a node is at; with `topology: single` who runs has the writer's place."""
log = logger("node")


class ReloadRefused(Exception):
    """Settings that must not be taken into use now; one line says why, and what to do."""


class Application:
    """One node, put together. `acme` and `admin` are its WSGI applications, once it is open."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock | None = None,
        ids: Ids | None = None,
        *,
        unendorsed: bool = False,
        listen: Listen = no_listener,
    ) -> None:
        """Nothing is touched before `open`. `unendorsed`: serve though no node vouches for this.
        `listen` opens the listener at which another ACME server looks."""
        self._unendorsed = unendorsed
        self._listen = listen
        self.settings = settings
        self.clock = clock or SystemClock()
        self.ids = ids or RandomIds(self.clock)
        self.readiness = health.Readiness({"node": lambda: "the node is starting"})
        self._roots: dict[str, bytes] = {}
        self.authorities: dict[str, Authority] = {}
        self._former: list[Authority] = []
        self.metrics = Metrics()
        self.metrics.describe_build(settings.database.driver)
        self._role = STARTING
        for role in ROLES:
            self.metrics.role.labels(role).set_function(partial(self._has_role, role))
        self.admin = health.build(self.readiness, self._all_roots, self.metrics)
        self.on_stop: Callable[[str], None] = lambda _reason: None
        self._away: str | None = None
        self._notices = Notices(
            settings.notices,
            self._troubles,
            self._sender,
            self.clock,
            self.ids,
            self.metrics,
        )
        self._closing = threading.Lock()
        self._closed = True  # nothing to close before `open` has succeeded

    def open(self) -> None:
        """Take the node into service: everything but the listeners.

        Raises BootRefused with what is wrong and what to do, DatabaseUnavailable while the database
        cannot be asked, Unavailable while nothing can be committed, OSError where the workdir
        cannot be used, NoCertificate where a bundle has none. After any of these nothing is left
        open.
        """
        try:
            self._open()
        except DatabaseUnavailable as error:
            self._away = room.explained(str(error), self.settings)
            self._notices.start()
            raise DatabaseUnavailable(self._away) from error
        except Unavailable as error:
            raise Unavailable(room.explained(error.reason, self.settings)) from error
        except OSError as error:
            if not room.is_full(error):
                raise
            raise OSError(room.unwritten(error, self.settings)) from error

    def _open(self) -> None:
        self.node = boot.open_node(self.settings, self.ids)
        doorway: local.Doorway | None = None
        try:
            # Who comes before we serve waits there, and finds neither nobody nor a taken lock.
            doorway = local.open_doorway(self.settings.workdir)
            self._enter(doorway)
        except BaseException:  # also Ctrl-C: half a node keeps no lock, and no thread
            if doorway is not None:
                doorway.close()
                doorway.release()
            if hasattr(self, "committer"):
                self.committer.stop()
            self.node.close()
            raise

    def _enter(self, doorway: local.Doorway) -> None:
        settings, node = self.settings, self.node
        for private in (settings.secrets.key_file, settings.workdir / identity.KEY_FILE):
            if (wrong := openness(private)) is not None:
                log.warning("%s", wrong)
        standing = boot.level(node)
        if not self._unendorsed:
            boot.check_endorsed(node)
        nonce_secret = node.secrets.get_or_make("nonces", self.ids.random(NONCE_SECRET))
        self.authorities = {}
        self.authorities = self._authorities(settings)
        by_acme = self._by_acme(settings.tls_certificate_manager)
        self.breakers = Breakers(self.clock)
        self.policies = self._policies(settings, self.authorities.values())
        node.store.on_error = self._count_database_error
        self._begin_to_commit(standing)
        self._see_issuers()
        self.refusals = Refusals(self.committer, self.clock)
        self.own_certificates = OwnCertificates(
            settings.tls_certificate_manager,
            self.authorities,
            self.clock,
            node.identity.server_id,
            self._installed,
            lambda bundle: node.secrets.get(secret_name(bundle)),
            by_acme,
        )
        self.expiry = Expiry(self.committer, self.clock, node.store.run_out)
        self.retention = Retention(
            self.committer, self.clock, self.settings.retention.keep, node.store
        )
        self.samples = MemorySamples()
        self.health = Health(
            self.committer,
            self.clock,
            self.breakers,
            self.authorities,
            self.samples,
            node.identity.server_id,
        )
        self.workers = self._workers()
        self.subjects = Subjects(self.node.store, self.ids)
        redeemed = MemoryRedeemedNonces(self.clock)
        self.nonces = Nonces(nonce_secret, redeemed, self.clock, self.ids.random)
        self.buckets = MemoryBuckets(self.clock)
        self.limits = self._limits(settings)
        self.acme = self._acme(settings, self.limits)
        self.counts = Counts(node.store, self.clock, self.metrics, settings.renewal_info)
        self._show_figures()
        self.workers.start(self.committer)
        self._schedule()
        self._door = self._local_door(doorway)
        self.readiness.checks = self._checks()
        self._notices.start()
        self._role = WRITER
        self._closed = False

    def _begin_to_commit(self, standing: Standing) -> None:
        """Become the writer, if the license lets a node start, and record that."""
        settings, node = self.settings, self.node
        self.committer = Committer(
            node.store, node.journal, self.clock, settings.audit.rotate, self.metrics
        )
        self.committer.on_stop = self._stopped
        self.committer.listeners.append(Figures(self.metrics).hear)
        self.committer.start(boot.take_place(node, self.clock, self.ids), standing)
        self.license = Licensing(
            self.committer,
            self.clock,
            node.store,
            self._terms(settings),
            settings.license,
            self.metrics,
        )
        self.license.check_start(known=boot.is_known(node))
        boot.announce(node, self.committer, settings, _loaded(settings))
        self.license.begin()

    def _schedule(self) -> None:
        """Begin with what happens by the clock."""
        self.schedule = Schedule()
        self.schedule.every(COUNT, self.counts.count, at_once=True)
        self.schedule.every(schedule.LOOK_AROUND, self.workers.look_around)
        self.schedule.every(schedule.SUMMARIZE, self.refusals.summarize)
        self.schedule.every(schedule.EXPIRE, self.expiry.expire)
        self.schedule.every(LOOK, self.license.look)
        self.schedule.every(REFRESH, self.license.refresh, at_once=True)
        if self.settings.retention.enabled:
            self.schedule.every(schedule.RETAIN, self.retention.apply)
        self._probed: set[str] = set()
        self._watch()
        self.schedule.start()

    def hasten(self) -> None:
        """Answer requests that wait for a certificate with what is known by now: the node is about
        to be taken out of service. The certificate is fetched from the one that comes next."""
        self.committer.watch.release()

    def answer(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        """Answer an ACME client by the settings in use: the WSGI application of the listener."""
        return self.acme(environ, start_response)

    def reload(self, settings: Settings) -> None:
        """Use new settings from the next request and the next job on, and record them first.

        They differ from those in use as `config.taken_over` lets them. All or nothing: raises
        ReloadRefused, BootRefused, OSError, and what `Committer.submit` raises; then the old ones
        hold.
        """
        gone = self.authorities.keys() - {each.name for each in settings.authorities}
        self._refuse_open_orders(gone)
        terms = self._terms(settings)
        self._refuse_unlicensed(terms)
        authorities = self._authorities(settings)
        policies = self._policies(settings, authorities.values())
        limits, validators = self._limits(settings), self._validators(settings)
        acme = self._acme(settings, limits)
        office = self._office_by(settings, limits)
        stream = f"node/{self.node.identity.server_id}"
        self._commit(lambda _rows, _now: Decision(((stream, _loaded(settings)),)))
        # What is under way goes on with what it began with, so nothing is closed before the end.
        now = authorities.values()
        self._former += [each for each in self.authorities.values() if each not in now]
        self.authorities.update(authorities)
        self.validation.look_with(validators)
        self.policies.take_over(policies)
        for name in gone:
            del self.authorities[name]
            self.metrics.authority_up.remove(name)
        self.settings, self.acme, self._office = settings, acme, office
        self.limits = limits
        self.license.use(terms, settings.license)
        self._watch()
        self._notices.use(settings.notices)

    def _refuse_unlicensed(self, terms: Terms) -> None:
        """What a start would be refused for is not taken over by a running node."""
        if not self.license.standing().serves:
            return  # it is as it was, whatever is read
        found = terms.standing(self.committer, self.committer.now())
        if not found.serves:
            why = "; ".join(found.reasons) or found.state
            raise ReloadRefused(
                f"the license does not allow this configuration: {why}; see 'certeasy license"
                " status -f config.yml'"
            )

    def _refuse_open_orders(self, gone: Collection[str]) -> None:
        """An authority that has begun with orders is kept until they have their certificates."""
        why = deciding.needed(gone, self.node.store.processing())
        if why is not None:
            raise ReloadRefused(why)

    def close(self) -> bool:
        """Take the node out of service; return whether all work came to its end within
        drain-timeout."""
        with self._closing:
            if self._closed:
                self._notices.stop()
                return True
            self._closed = True
        self._role = STOPPING
        self._notices.stop()
        self.readiness.checks = {"node": lambda: "the node is stopping"}
        wait = self.settings.workers.drain_timeout.total_seconds()
        answered = self._door.close(wait)
        drained = self.workers.stop(wait) and answered
        self.retention.stop()
        self.own_certificates.stop()
        self.schedule.stop()
        self.refusals.close()
        try:
            boot.farewell(self.node, self.committer)
        except Unavailable as error:
            log.warning("the stop could not be recorded: %s", error)
        self.committer.stop()
        for authority in (*self.authorities.values(), *self._former):
            authority.close()
        self.node.close()
        return drained

    # -- who is told ---------------------------------------------------------------------------

    def _sender(self) -> Sender:
        if hasattr(self, "node"):
            node = self.node.identity.server_id
        else:
            node = identity.known_id(self.settings.workdir)
        return Sender(self.settings.server.url[0], node)

    def _troubles(self) -> Iterable[Trouble]:
        """Yield what is wrong just now."""
        if self._role == STARTING:
            if self._away is not None:
                yield Trouble("database-gone", "", self._away)
            return
        own = self.own_certificates
        checks: list[Check] = [
            ("database-gone", "", self._database_reason),
            ("journal-stopped", "", self.node.journal.trouble),
            ("journal-disk-low", "", self._low_disk),
            ("license-ending", "", self.license.ending),
        ]
        checks += [
            ("authority-sick", name, partial(self._why_sick, name)) for name in self.authorities
        ]
        if self.settings.server.tls:
            checks += [
                ("own-certificate-failing", name, partial(own.failing, name))
                for name in own.bundles
            ]
        yield from troubles(checks)
        yield from overdue(self.counts.overdue)

    # -- the parts -----------------------------------------------------------------------------

    def _terms(self, settings: Settings) -> Terms:
        return Terms(settings, self.node.store.head().installation_id)

    def _policies(self, settings: Settings, authorities: Iterable[Authority]) -> Policies:
        return Policies(
            settings.issuance_policies,
            settings.policy_bindings,
            authorities,
            settings.profiles,
            settings.default_profile,
        )

    def _authorities(self, settings: Settings) -> dict[str, Authority]:
        """Return the authorities; one that is in use with the same settings is the one in use."""
        used = {each.name: each for each in self.settings.authorities}
        running = self.authorities
        authorities: dict[str, Authority] = {}
        for each in settings.authorities:
            if each.name in running and used.get(each.name) == each:
                authorities[each.name] = running[each.name]
                continue
            match each.configuration:
                case EmbeddedSettings() as chosen:
                    authorities[each.name] = self._embedded(each.name, chosen)
                case AdcsSettings() as chosen:
                    # What speaks RPC takes its time to be imported, and is not for everybody.
                    from certeasy.ca.adcs.authority import adcs_authority  # noqa: PLC0415

                    workers = settings.workers.workers
                    made = adcs_authority(each, chosen, self.clock, workers=workers)
                    log.info("authority %s: %s", each.name, made.described)
                    authorities[each.name] = made
                case AdcsCliSettings() as chosen:
                    authorities[each.name] = self._by_programs(each, chosen)
        return authorities

    def _all_roots(self) -> bytes:
        return b"".join(
            root for name, root in list(self._roots.items()) if name in self.authorities
        )

    def _by_acme(self, manager: TlsSettings) -> dict[str, ByAcme]:
        """Return who asks another ACME server, by bundle. Our account there is kept by its key,
        which is made once."""
        showing = Showing(manager.acme.http_addr, self._listen)
        made: dict[str, ByAcme] = {}
        for bundle in manager.bundles if self.settings.server.tls else ():
            if bundle.mode in BY_ACME:
                name = account_secret(directory_of(bundle, manager.acme))
                key = self.node.secrets.get(name)
                if key is None:
                    key = self.node.secrets.get_or_make(name, account_key())
                made[bundle.name] = ByAcme(bundle, manager.acme, key, self.clock, showing)
        return made

    def _by_programs(self, each: AuthoritySettings, chosen: AdcsCliSettings) -> Authority:
        """Return a CA that is asked by the programs of Windows."""
        from certeasy.ca.adcs.certreq import CertreqAuthority  # noqa: PLC0415 - not for everybody

        tells = not each.disable_ca_revocation
        folder = self.settings.workdir / "adcs"
        made = CertreqAuthority(each.name, chosen, folder / each.name, tells=tells)
        log.info("authority %s: %s", each.name, made.described)
        return made

    def _embedded(self, name: str, chosen: EmbeddedSettings) -> EmbeddedAuthority:
        """Return a CA inside this server; its keys are made once."""
        secrets = self.node.secrets
        stored = secrets.get(f"authority/{name}")
        if stored is None:
            self._refuse_second_ca(name)
            made = generate(chosen, self.clock, self.ids).encode()
            stored = secrets.get_or_make(f"authority/{name}", made)
        keys = EmbeddedKeys.decode(stored)
        # Where an administrator finds it, to hand it to clients.
        publish(root_file(self.settings, name), keys.root_pem)
        self._roots[name] = keys.root_pem
        return EmbeddedAuthority(name, keys, chosen, self.clock, self.ids)

    def _refuse_second_ca(self, name: str) -> None:
        """An authority that the log knows has keys; without them it is lost, not new."""
        if self.node.store.has_stream(f"authority/{name}"):
            raise boot.BootRefused(
                f"the log knows certificates of authority {name!r}, but the database (secrets)"
                " has no keys of it any more: restore the database from a backup, or give the new"
                " authority another name"
            )

    def _workers(self) -> Workers:
        urls = Urls(self.settings.server.url)
        self.validation = Validation(
            self.committer,
            self._validators(self.settings),
            urls.accounts,
            self.clock,
            self.metrics,
        )
        ownership = Ownership(self.committer, self.node.store.jobs)
        issuance = Issuance(
            self.committer,
            self.clock,
            self.node.identity.server_id,
            self.authorities,
            self.policies,
            self.breakers,
            self.settings.workers.authority_wait,
            ownership,
            self.metrics,
        )
        revoking = Revoking(self.committer, self.clock, self.authorities, self.breakers.available)
        twins = Twins(
            self.committer,
            self.clock,
            self.node.identity.server_id,
            self.authorities,
            ownership,
        )
        perform: dict[str, Perform] = {
            VALIDATE: self.validation.perform,
            ISSUE: issuance.perform,
            REVOKE: revoking.perform,
            TWINS: twins.perform,
        }
        return Workers(
            self.settings.workers,
            MemoryLeases(),
            self.clock,
            self.node.store.jobs,
            perform,
            issuance.is_now,
            self.metrics,
        )

    def _issue_now(self, order: Order) -> None:
        self.workers.do_now(Job(order.id, ISSUE, order.id, order.account_id, order.position))

    def _validators(self, settings: Settings) -> dict[tuple[str, str], Validator]:
        made = {
            profile.name: validators_of(profile, settings.server.caa_identities, self.clock)
            for profile in settings.dns_validation_profiles
        }
        return {
            (policy.name, kind): validator
            for policy in settings.issuance_policies
            for kind, validator in made[policy.dns_validation_profile].items()
        }

    def _caa_again(self, settings: Settings) -> CaaAgain:
        """Return what looks at CAA records again when an order is finalized."""
        server = settings.server
        asked = {
            profile.name: Obeyed(
                Caa(Resolver(profile), server.caa_identities), strict=profile.caa == "strict"
            )
            for profile in settings.dns_validation_profiles
            if profile.caa != "off"
        }
        by_policy = {
            policy.name: asked[policy.dns_validation_profile]
            for policy in settings.issuance_policies
            if policy.dns_validation_profile in asked
        }
        urls = Urls(server.url)
        return CaaAgain(by_policy, urls.accounts, self.clock, server.finalize_wait, server.threads)

    def _limits(self, settings: Settings) -> Limits:
        """Return what clients are held to; what was counted before stays counted."""
        return Limits(settings.rate_limiting, self.buckets, self.clock)

    def _acme(
        self, settings: Settings, limits: Limits
    ) -> "falcon.App[falcon.Request, falcon.Response]":
        site = Site(
            settings=settings,
            clock=self.clock,
            ids=self.ids,
            committer=self.committer,
            nonces=self.nonces,
            subjects=self.subjects,
            policies=self.policies,
            available=self.breakers.available,
            refused=self.refusals.note,
            issue_now=self._issue_now,
            check_caa=self._caa_again(settings).check,
            mac_key=self._mac_key,
            limits=limits,
            told=self._is_told,
            seats=Seats(self.committer, lambda: self.license.terms),
            metrics=self.metrics,
        )
        return build_acme(site)

    def _show_figures(self) -> None:
        """Have the figures shown that are what they are at the moment of a look."""
        metrics, committer, workers = self.metrics, self.committer, self.workers
        journal = self.node.journal
        shown: tuple[tuple[Gauge, Callable[[], float]], ...] = (
            (metrics.accepting, lambda: committer.trouble() is None),
            (metrics.epoch, lambda: committer.epoch),
            (metrics.queue, lambda: committer.waiting),
            (metrics.position, lambda: committer.position),
            (metrics.journal_seq, lambda: committer.seq),
            (metrics.journal_lag, lambda: committer.lag),
            (metrics.journal_open, lambda: journal.is_open),
            (metrics.journal_size, lambda: journal.confirmed),
            (metrics.journal_free, lambda: journal.free),
            (metrics.journal_headroom, lambda: journal.headroom),
            (metrics.jobs_running, workers.running),
            (metrics.jobs_waiting, lambda: workers.waiting() - workers.running()),
        )
        for gauge, figure in shown:
            gauge.set_function(told(figure))
        own = self.own_certificates
        for bundle in own.bundles:
            end, failing = partial(_timestamp, own, bundle), partial(_is_failing, own, bundle)
            metrics.tls_expiry.labels(bundle).set_function(told(end))
            metrics.tls_failing.labels(bundle).set_function(told(failing))

    def _watch(self) -> None:
        """Probe the authorities, and show how they are: those that there are now."""
        for name in self.authorities:
            well = partial(self._is_well, name)
            self.metrics.authority_up.labels(name).set_function(told(well))
            if name not in self._probed:
                self._probed.add(name)
                self.schedule.every(PROBE.total_seconds(), partial(self._probe, name))
        self.readiness.remarks = (
            {"journal disk": self._low_disk, "license": self.license.remark}
            | {f"authority {name}": partial(self._sickness, name) for name in self.authorities}
            | {
                f"certificate {name}": partial(self.own_certificates.failing, name)
                for name in (self.own_certificates.bundles if self.settings.server.tls else ())
            }
        )

    def _probe(self, authority: str) -> None:
        if authority in self.authorities:  # it may have been taken out since
            self.health.look(authority)

    def _has_role(self, role: str) -> bool:
        return self._role == role

    def _is_well(self, authority: str) -> bool:
        return self.breakers.sickness(authority) is None

    def _count_database_error(self, kind: str) -> None:
        self.metrics.database_errors.labels(kind).inc()

    def _is_told(self, name: str) -> bool:
        """Whether an authority is told what is revoked; one that is not there (any more) will be,
        should it come back."""
        authority = self.authorities.get(name)
        return authority is None or authority.revokes

    def _local_door(self, doorway: local.Doorway) -> LocalDoor:
        """Let administrators in, by the local socket; the workdir's lock is ours."""
        self._office = self._office_by(self.settings, self.limits)

        def receive(user: str) -> Desk:
            return Desk(self._office, *boot.administrator(user, self.ids))

        return LocalDoor(doorway, receive)

    def _office_by(self, settings: Settings, limits: Limits) -> Office:
        return Office(
            settings=settings,
            clock=self.clock,
            ids=self.ids,
            store=self.node.store,
            journal=self.node.journal,
            secrets=self.node.secrets,
            subjects=self.subjects,
            server_id=self.node.identity.server_id,
            committer=lambda: self.committer,
            told=self._is_told,
            limits=limits,
        )

    def _mac_key(self, kid: str) -> bytes | None:
        """Return the MAC key of an external account binding, or None."""
        return self.node.secrets.get(eab.secret_name(kid)) if eab.is_kid(kid) else None

    def _checks(self) -> dict[str, health.Check]:
        return {
            "database": self._database_reason,
            "journal": self.node.journal.trouble,
            "role": self.committer.trouble,
            "certificate": self.own_certificates.ended,
        }

    def _low_disk(self) -> str | None:
        """Return that the journal's disk is filling up, if it is."""
        journal, low = self.node.journal, self.settings.audit.low_free_bytes
        free = journal.free
        if free >= low:
            return None
        return (
            f"{free} bytes are free where {journal.path} is, less than {low}"
            " (audit.low-free-bytes): make room before nothing is accepted any more"
        )

    def _sickness(self, authority: str) -> str | None:
        why = self._why_sick(authority)
        return None if why is None else f"cannot be used: {why}"

    def _why_sick(self, authority: str) -> str | None:
        sickness = self.breakers.sickness(authority)
        return None if sickness is None else sickness.reason

    def _database_reason(self) -> str | None:
        try:
            self.node.store.head()
        except DatabaseUnavailable as error:
            return str(error)
        return None

    # -- facts of the node itself --------------------------------------------------------------

    def _see_issuers(self) -> None:
        """Record the authorities' certificates, so that chains can be rebuilt from the log.

        Those of a CA that has to be asked for them are recorded with the first chain they are in:
        a start waits for nobody.
        """
        for authority in self.authorities.values():
            for certificate in authority.issuers() if authority.in_process else ():
                self._commit(_seen(authority.name, certificate))

    def _installed(self, fact: TlsCertificateInstalled, secret: bytes) -> None:
        """Record a certificate of the server itself, and keep it in the same moment."""
        stream, name = f"tls/{fact.bundle}", secret_name(fact.bundle)
        decide = Decision(((stream, fact),))
        wrapped = self.node.secrets.wrap(name, secret)
        command = Command(
            lambda _rows, _now: decide, boot.SYSTEM, secrets=((name, wrapped),), dropped=(name,)
        )
        self.committer.submit(command)

    def _commit(self, decide: Callable[[Reader, datetime], Decision]) -> None:
        self.committer.submit(Command(decide, boot.SYSTEM))

    def _stopped(self, reason: str) -> None:
        self.on_stop(reason)


def _timestamp(own: OwnCertificates, bundle: str) -> float:
    end = own.not_after(bundle)
    return math.nan if end is None else end.timestamp()


def _is_failing(own: OwnCertificates, bundle: str) -> bool:
    return own.failing(bundle) is not None


def _loaded(settings: Settings) -> SettingsLoaded:
    return SettingsLoaded(config.fingerprint(settings), dict(config.redacted(settings)))


def _seen(authority: str, certificate: bytes) -> Callable[[Reader, datetime], Decision]:
    return lambda rows, _now: deciding.seen(rows, authority, certificate)
