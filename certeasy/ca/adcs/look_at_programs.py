"""Looking at a CA that is asked by the programs of Windows.

The programs are started as they will be, as the account of this process, for the cheapest question
that there is: nothing is submitted, nothing is changed.
"""

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from certeasy.ca import Unavailable
from certeasy.ca.adcs.certreq import CertreqAuthority
from certeasy.ca.adcs.findings import Finding, shown
from certeasy.ca.adcs.programs import programs_of
from certeasy.settings import AuthoritySettings
from certeasy.settings.adcs import AdcsCliSettings

NOT_SEEN = (
    "with adcs-cli neither the directory, nor the template, nor the rights of the account are"
    " looked at"
)
HOW_TO_SEE = (
    "look with certtmpl.msc and certsrv.msc at what docs/adcs.md says of template and rights; of an"
    " authority of the type adcs they are read by LDAP and RPC"
)


class ProgramsPreflight:
    """One look at one authority of the type adcs-cli."""

    def __init__(self, chosen: AuthoritySettings, settings: AdcsCliSettings) -> None:
        self._chosen = chosen
        self._settings = settings

    def run(self) -> Iterator[Finding]:
        """Yield what is found, step by step, as it is found."""
        broken: set[str] = set()
        # A server that runs has files of its own calls in the work directory.
        with tempfile.TemporaryDirectory(prefix="certeasy-check-") as folder:
            authority = CertreqAuthority(self._chosen.name, self._settings, Path(folder))
            certreq, certutil = programs_of(self._settings)
            steps: tuple[tuple[str, tuple[str, ...], Callable[[], Finding]], ...] = (
                ("certreq", (), lambda: _program("certreq", certreq)),
                ("certutil", (), lambda: _program("certutil", certutil)),
                ("bind", ("certutil",), lambda: self._bind(authority)),
                ("issuers", self._needed(), lambda: self._issuers(authority)),
            )
            for step, needs, look in steps:
                missing = next((each for each in needs if each in broken), None)
                if missing is not None:
                    finding = Finding(step, "skipped", f"not looked at: {missing} comes first")
                else:
                    finding = look()
                if finding.status in {"fail", "skipped"}:
                    broken.add(step)
                yield finding
        yield Finding("template", "warn", NOT_SEEN, HOW_TO_SEE)

    def _needed(self) -> tuple[str, ...]:
        return () if self._settings.ca_certificates is not None else ("bind",)

    def _bind(self, authority: CertreqAuthority) -> Finding:
        name = self._settings.ca_name
        try:
            authority.probe()
        except Unavailable as error:
            return Finding(
                "bind",
                "fail",
                shown(error.reason, 400),
                f'run it by hand, as the account of the server: certutil -config "{name}" -ping',
                error.code or "",
            )
        return Finding("bind", "ok", f"{name} answers certutil")

    def _issuers(self, authority: CertreqAuthority) -> Finding:
        try:
            known = authority.issuers()
        except Unavailable as error:
            return Finding(
                "issuers",
                "fail",
                f"which CA certificates to verify under is not known: {shown(error.reason, 300)}",
                "set ca-certificates to a file that has them in PEM",
                error.code or "",
            )
        in_file = self._settings.ca_certificates is not None
        where = "the file ca-certificates has" if in_file else "the CA tells"
        return Finding("issuers", "ok", f"{where} the CA's certificates, {len(known)} in all")


def _program(step: str, path: Path) -> Finding:
    """Return whether there is such a program, that this process can run."""
    if path.is_file() and os.access(path, os.X_OK):
        return Finding(step, "ok", f"{path} is there")
    return Finding(
        step,
        "fail",
        f"{path} is no program that can be run here",
        f"adcs-cli is for Windows, which has it; else name it in {step}-path, or use type: adcs",
    )
