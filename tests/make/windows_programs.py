"""certreq and certutil for machines that have none: programs that ask a simulated CA.

    with programs_for(ca) as programs:
        programs.certreq, programs.certutil     # what to configure
        programs.away = True                    # nobody answers
        programs.hangs = True                   # they do not come to an end
        programs.called                         # every call: the program and its arguments

They are real programs, which take the arguments that Windows' own take and print what those print,
in German. They know nothing: a thread of the test answers them.
"""

import socketserver
import stat
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from tests.make.adcs import LabCa
from tools.adcs_sim import signing
from tools.adcs_sim.connection import Fault, LineCut

PROGRAM = """\
#!{python} -IS
import json, os, socket, sys
line = json.dumps([os.path.basename(sys.argv[0]), os.getcwd(), *sys.argv[1:]])
with socket.create_connection(("127.0.0.1", {port})) as asked:
    asked.sendall(line.encode() + b"\\n")
    answer = asked.makefile("rb").readline()
exit_code, printed = json.loads(answer)
sys.stdout.buffer.write(printed.encode("cp850"))
sys.stdout.flush()
os._exit(exit_code)
"""
NOBODY = "Der RPC-Server ist nicht verfügbar. 0x800706ba (WIN32: 1722 RPC_S_SERVER_UNAVAILABLE)"
INTERRUPTED = "Der Remoteprozeduraufruf ist fehlgeschlagen. 0x800706be (WIN32: 1726)"
POLICY = "Active Directory-Registrierungsrichtlinie\n  {E2E4C1F2}\n  ldap:\n"


class WindowsPrograms:
    """The two programs, and how they are."""

    def __init__(self, ca: LabCa, folder: Path) -> None:
        self.ca = ca
        self.away = self.hangs = False
        self.ended = threading.Event()
        self.called: list[list[str]] = []
        self.modes: set[int] = set()
        self.certreq = folder / "certreq.exe"
        self.certutil = folder / "certutil.exe"

    def write(self, port: int) -> None:
        """Make the programs."""
        for path in (self.certreq, self.certutil):
            path.write_text(PROGRAM.format(python=sys.executable, port=port))
            path.chmod(0o700)

    def answer(self, program: str, place: Path, words: list[str]) -> tuple[int, str]:
        """Return the exit code of a call, and what it prints."""
        self.called.append([program, *words])
        self.modes |= {stat.S_IMODE(one.stat().st_mode) for one in (place, *place.glob("*.der"))}
        if self.hangs:
            self.ended.wait()
        if self.away:
            return 1, NOBODY
        config = words[words.index("-config") + 1]
        if config != f"ca1.lab.test\\{self.ca.name}":
            return 1, "Falscher Parameter. 0x80070057 (WIN32: 87 ERROR_INVALID_PARAMETER)"
        if program == "certreq.exe":
            return self._certreq(place, words)
        return self._certutil(place, words)

    def _certreq(self, place: Path, words: list[str]) -> tuple[int, str]:
        assert words[:2] == ["-q", "-binary"], words
        if "-retrieve" in words:
            reply = self.ca.ca.retrieve(int(words[words.index("-retrieve") + 1]))
        else:
            lines = words[words.index("-attrib") + 1].split("\\n")
            named = dict(line.split(":", 1) for line in lines)
            csr = (place / words[words.index("-submit") + 1]).read_bytes()
            try:
                reply = self.ca.ca.submit(
                    csr, {name.lower(): value for name, value in named.items()}, "LAB\\SERVER$"
                )
            except (LineCut, Fault):
                return 1, POLICY + INTERRUPTED
            if reply.cut:
                return 1, POLICY + INTERRUPTED
        if reply.result:
            return 1, f"Fehler: 0x{reply.result:08x} ({reply.result - (1 << 32)})"
        told = f'{POLICY}RequestId: {reply.request_id}\nRequestId: "{reply.request_id}"\n'
        if reply.disposition == 5:
            return 0, told + "Zertifikatanforderung steht aus: Wird bearbeitet (0)"
        if reply.disposition in (3, 6) and reply.certificate:
            (place / words[-2]).write_bytes(reply.certificate)
            (place / words[-1]).write_bytes(reply.chain)
            return 0, told + "Zertifikat abgerufen(Ausgestellt) Ausgestellt"
        code = reply.disposition if reply.disposition >> 31 else 0x80094014
        why = f"Verweigert von Kurt. 0x{code:08x} ({code - (1 << 32)})"
        return 1, f"{told}Zertifikat nicht ausgestellt (Verweigert) {why}"

    def _certutil(self, place: Path, words: list[str]) -> tuple[int, str]:
        if "-ping" in words:
            return 0, "Schnittstelle ICertRequest2 ist aktiv"
        if "-ca.chain" in words:
            certificates = [one.certificate for one in self.ca.ca.signers]
            (place / words[-1]).write_bytes(signing.chain_of(certificates))
            return 0, "CertUtil: -ca.chain-Befehl wurde erfolgreich ausgeführt."
        serial, reason = words[words.index("-revoke") + 1 :]
        code = self.ca.ca.revoke(serial, int(reason), None)
        if code:
            return 1, f"CertUtil: -revoke Befehl ist fehlgeschlagen: 0x{code:08x}"
        return 0, f'"{serial}" wird gesperrt.'


@contextmanager
def programs_for(ca: LabCa, folder: Path) -> Iterator[WindowsPrograms]:
    """Have both programs in a folder for a while."""
    programs = WindowsPrograms(ca, folder)

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            program, place, *words = msgspec.json.decode(self.rfile.readline(), type=list[str])
            self.wfile.write(msgspec.json.encode(programs.answer(program, Path(place), words)))
            self.wfile.write(b"\n")

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """Say nothing: a program that was ended does not wait for its answer."""

    with Server(("127.0.0.1", 0), Handler) as server:
        programs.write(server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield programs
        finally:
            programs.ended.set()
            server.shutdown()
            thread.join()
