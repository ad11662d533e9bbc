"""Enrol by SSPI, as a program of Windows' Python: `sspi_of_wine HOST CA-NAME CSR-FILE TIMES`.

Below pyspnego and sspilib, as they are on Windows, stands wine's own Kerberos provider. Of what
they rely on it lacks two things, which are put between: it makes no room for a token (it does not
know ISC_REQ_ALLOCATE_MEMORY), and does not say which package was agreed on
(SECPKG_ATTR_PACKAGE_INFO).
"""

import hashlib
import sys
from pathlib import Path
from typing import Any

import spnego._sspi
import sspilib.raw

from certeasy.ca.adcs.deadline import Deadline
from certeasy.ca.adcs.icpr import Enrolment
from certeasy.ca.adcs.sspi import SspiIdentity
from certeasy.ca.adcs.transport import Target

LONGEST_TOKEN = 48_000  # what Windows tells for Kerberos


class _Raw:
    """`sspilib.raw`, with room where SSPI is asked to make it."""

    def __getattr__(self, name: str) -> Any:
        return getattr(sspilib.raw, name)

    def SecBuffer(self, data: bytearray | None, kind: int, *flags: int) -> Any:  # noqa: N802 - its name
        token = sspilib.raw.SecBufferType.SECBUFFER_TOKEN
        room = bytearray(LONGEST_TOKEN) if data is None and kind == token else data
        return sspilib.raw.SecBuffer(room, kind, *flags)


class _Sspilib:
    raw = _Raw()

    def __getattr__(self, name: str) -> Any:
        return getattr(sspilib, name)


def main(host: str, ca_name: str, csr: str, times: str) -> None:
    """Print the hash of each certificate."""
    spnego._sspi.sspilib = _Sspilib()
    spnego._sspi.SSPIProxy.negotiated_protocol = property(lambda _self: "kerberos")
    asking = Enrolment(Target(host, transport="tcp"), SspiIdentity(), connections=1)
    for _ in range(int(times)):
        template = {"CertificateTemplate": "WebServer"}
        reply = asking.request(ca_name, Path(csr).read_bytes(), template, Deadline(60))
        print(hashlib.sha256(reply.certificate).hexdigest())  # noqa: T201 - its answer
    asking.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
