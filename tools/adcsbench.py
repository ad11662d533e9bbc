"""What enrolment at a CA costs this side: as JSON.

    python -m tools.adcsbench --count 200
    python -m tools.adcsbench --host ca1.lab.test --transport np --domain LAB.TEST --keytab s.keytab

Without a host there is a simulated CA on loopback, in a process of its own, and NTLM over TCP. With
one, it is asked as whoever the options say. Every certificate is compared with the key that asked
for it, after the clocks have stopped.

`fresh`: a connection for each; `kept`: one for all; `threads`: so many at once, each with its own.
`cpu_ms` is processor time of this process alone, `ms` the time until the answer; both are of one
enrolment, with the proof that a fresh connection costs. A server that is slow shows in `ms`.
"""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TypeVar

import click
import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from certeasy.ca.adcs.controllers import Controllers
from certeasy.ca.adcs.deadline import Bounded, Deadline
from certeasy.ca.adcs.icpr import Enrolment
from certeasy.ca.adcs.identity import Credentials, Identity, NtlmIdentity
from certeasy.ca.adcs.kdc import Kdc
from certeasy.ca.adcs.kerberos import KerberosIdentity
from certeasy.ca.adcs.logins import by_keytab
from certeasy.ca.adcs.transport import Target
from certeasy.clock import SystemClock
from tools.adcs_sim.machine import Machine, Plan

ISSUED = 3
CLOCK = SystemClock()
LIMIT = 60
T = TypeVar("T")


class Simulated:
    """The account that the simulated CA knows."""

    described = "svc-acme of the simulated CA"

    def credentials(self, service: str, host: str, deadline: Deadline) -> Credentials:
        """Return the same for every service."""
        del service, host, deadline
        (user, password), *_ = Plan().accounts.items()
        return Credentials(user, Plan().domain, kerberos=False, password=password)

    def forget(self, service: str, host: str) -> None:
        """Forget nothing."""


def _simulate(pipe: Connection) -> None:
    with Machine(Plan()) as machine:
        pipe.send((machine.plan.name, machine.mapper_port))
        pipe.recv()


@contextmanager
def simulated() -> Iterator[tuple[str, Target]]:
    """Run a CA in another process; yield its name and where it is."""
    here, there = get_context("spawn").Pipe()
    process = get_context("spawn").Process(target=_simulate, args=(there,))
    process.start()
    try:
        name, mapper = here.recv()
        yield name, Target("127.0.0.1", transport="tcp", mapper_port=mapper)
    finally:
        here.send(None)
        process.join()


def a_request(number: int) -> bytes:
    """Return a request for a name and a key of its own."""
    names = x509.SubjectAlternativeName([x509.DNSName(f"host-{number}.bench.test")])
    made = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    key = ec.generate_private_key(ec.SECP256R1())
    return made.add_extension(names, critical=False).sign(key, SHA256()).public_bytes(Encoding.DER)


class Bench:
    """One CA, asked as one identity for certificates of one template."""

    def __init__(self, name: str, target: Target, identity: Identity, template: str) -> None:
        self._name = name
        self._target = target
        self._identity = identity
        self._attributes = {"CertificateTemplate": template}

    def fresh(self, count: int) -> dict[str, float]:
        """Measure enrolments over connections of their own."""
        return self._measured(count, lambda csr: self._with_one(lambda one: self._ask(one, csr)))

    def kept(self, count: int) -> dict[str, float]:
        """Measure enrolments over one connection."""

        def of(one: Enrolment) -> dict[str, float]:
            self._ask(one, a_request(0))
            return self._measured(count, lambda csr: self._ask(one, csr))

        return self._with_one(of)

    def at_once(self, count: int, threads: int) -> dict[str, float]:
        """Measure enrolments by some threads, over kept connections."""

        def of(one: Enrolment) -> dict[str, float]:
            return self._measured(count, lambda csr: self._ask(one, csr), threads)

        return self._with_one(of)

    def _with_one(self, work: Callable[[Enrolment], T]) -> T:
        one = Enrolment(self._target, self._identity)
        try:
            return work(one)
        finally:
            one.close()

    def _ask(self, one: Enrolment, csr: bytes) -> bytes:
        reply = one.request(self._name, csr, self._attributes, Deadline(LIMIT))
        if reply.disposition != ISSUED:
            raise click.ClickException(f"0x{reply.disposition:08x} {reply.message}")
        return reply.certificate

    def _measured(
        self, count: int, ask: Callable[[bytes], bytes], threads: int = 1
    ) -> dict[str, float]:
        requests = [a_request(number) for number in range(count)]
        certificates: list[bytes] = [b""] * count

        def some(first: int) -> None:
            for at in range(first, count, threads):
                certificates[at] = ask(requests[at])

        begun, cpu = time.perf_counter(), time.process_time()
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(some, range(threads)))  # what a thread could not do is raised here
        seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
        for csr, certificate in zip(requests, certificates, strict=True):
            asked = x509.load_der_x509_csr(csr).public_key()
            if x509.load_der_x509_certificate(certificate).public_key() != asked:
                raise click.ClickException("a certificate is for a key that did not ask for it")
        return {
            "cpu_ms": round(cpu / count * 1000, 2),
            "ms": round(seconds / count * 1000 * threads, 2),
            "per_second": round(count / seconds, 1),
        }


@click.command()
@click.option("--count", default=200, show_default=True, help="Enrolments over kept connections.")
@click.option("--fresh", default=50, show_default=True, help="Enrolments over fresh ones.")
@click.option("--threads", default=8, show_default=True, help="How many at once, in the last part.")
@click.option("--host", default="", help="The CA's machine; default: a simulated CA.")
@click.option("--ca-name", default="LAB-CA", show_default=True, help="The CA's common name.")
@click.option("--template", default="WebServer", show_default=True, help="The template.")
@click.option("--transport", type=click.Choice(["tcp", "np"]), default="tcp", show_default=True)
@click.option("--port", default=0, help="The CA's RPC port; default: its mapper is asked.")
@click.option("--domain", default="", help="The account's domain.")
@click.option("--user", default="svc-acme", show_default=True, help="The account.")
@click.option("--keytab", type=click.Path(path_type=Path), help="Its keytab: by Kerberos.")
@click.option("--password-file", type=click.Path(path_type=Path), help="Its password: by NTLM.")
@click.option("--controller", "controllers", multiple=True, help="Where to ask for tickets.")
def main(
    count: int,
    fresh: int,
    threads: int,
    host: str,
    ca_name: str,
    template: str,
    transport: str,
    port: int,
    domain: str,
    user: str,
    keytab: Path | None,
    password_file: Path | None,
    controllers: tuple[str, ...],
) -> None:
    """Measure enrolments, and print JSON."""
    if not host:
        with simulated() as (name, target):
            _print(Bench(name, target, Simulated(), template), "NTLM tcp", count, fresh, threads)
        return
    identity: Identity
    if keytab is not None:
        kdc = Kdc(Controllers(domain, controllers, clock=CLOCK), CLOCK, Bounded())
        login = by_keytab(user, domain, keytab)
        identity = KerberosIdentity(user, domain, login, kdc, CLOCK)
    elif password_file is not None:
        identity = NtlmIdentity(user, domain, password_file)
    else:
        raise click.UsageError("a keytab or a password-file is wanted")
    way = msgspec.convert({"host": host, "transport": transport, "port": port}, Target)
    what = f"{'Kerberos' if keytab else 'NTLM'} {transport}"
    _print(Bench(ca_name, way, identity, template), what, count, fresh, threads)


def _print(bench: Bench, what: str, count: int, fresh: int, threads: int) -> None:
    result = {
        "fresh": bench.fresh(fresh),
        "kept": bench.kept(count),
        f"{threads} threads": bench.at_once(count, threads),
    }
    click.echo(msgspec.json.format(msgspec.json.encode({what: result}), indent=2))


if __name__ == "__main__":
    main()
