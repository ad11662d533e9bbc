"""What officers and administrators do at a CA: ICertAdminD and ICertAdminD2. MS-CSRA section 3.1.4.

To revoke needs the right "Issue and Manage Certificates", to publish a CRL "Manage CA". What a CA
is configured to can be read by whoever may; most accounts may not, and are told so by a code.
"""

from uuid import UUID

from certeasy.ca.adcs import dcom
from certeasy.ca.adcs.deadline import Deadline
from certeasy.ca.adcs.errors import HResult, NotReached
from certeasy.ca.adcs.ndr import Reader
from certeasy.ca.adcs.security import Tampered

CLASS = UUID("d99e6e73-fc88-11d0-b498-00a0c90312f3").bytes_le
ADMIN = UUID("d99e6e71-fc88-11d0-b498-00a0c90312f3").bytes_le
ADMIN_2 = UUID("7fe0d935-dda6-443f-85d0-1cfb58fe41dd").bytes_le

REVOKE, PUBLISH_CRLS, GET_SECURITY, GET_CONFIG = 10, 31, 36, 44
BASE_CRL = 1
NOW = 0

UNSPECIFIED = 0
KNOWN_REASONS = frozenset({0, 1, 2, 3, 4, 5, 6, 8})
"""Of RFC 5280: a CA takes neither 9 (privilegeWithdrawn) nor 10 (aACompromise)."""

POLICY_MODULE = "PolicyModules\\CertificateAuthority_MicrosoftDefault.Policy"
_EMPTY, _NUMBER, _TEXT = 0, 3, 8
LONGEST_VALUE = 1 << 16


def revoke(
    objects: dcom.Objects, ca_name: str, serial: str, reason: int, deadline: Deadline
) -> None:
    """Revoke a certificate as of now. `serial` is hex.

    Revoking what is revoked already is no error to a CA. Raises NotReached, AnswerLost, HResult.
    """
    known = reason if reason in KNOWN_REASONS else UNSPECIFIED
    with objects.made(CLASS, ADMIN, deadline) as remote:
        asked = dcom.call().text(ca_name).text(written(serial)).number(known)
        dcom.done(remote.change(REVOKE, asked.number(NOW).number(NOW), deadline))


def written(serial: str) -> str:
    """Return a serial number as this interface wants it: hex, an even number of digits, and no
    more zeros in front than that takes. MS-CSRA section 3.1.4.1.8."""
    digits = serial.lower().lstrip("0") or "0"
    return digits.zfill(len(digits) + len(digits) % 2)


def publish_crl(objects: dcom.Objects, ca_name: str, deadline: Deadline) -> None:
    """Have the CA publish its base CRL, valid as long as it is configured to.

    Raises NotReached, AnswerLost, HResult.
    """
    with objects.made(CLASS, ADMIN_2, deadline) as remote:
        asked = dcom.call().text(ca_name).number(NOW).number(NOW).number(BASE_CRL)
        dcom.done(remote.change(PUBLISH_CRLS, asked, deadline))


def security(objects: dcom.Objects, ca_name: str, deadline: Deadline) -> bytes:
    """Return who may do what at the CA: a security descriptor. Raises NotReached, HResult."""
    with objects.made(CLASS, ADMIN_2, deadline) as remote:
        reader = remote.ask(GET_SECURITY, dcom.call().text(ca_name), deadline)
        return blob(reader)


def config_entry(
    objects: dcom.Objects, ca_name: str, node: str, entry: str, deadline: Deadline
) -> int | str | None:
    """Return a value of the CA's configuration: `EditFlags` of `POLICY_MODULE`, `InterfaceFlags`
    of "". None: it has no such value, or one of another kind. Raises NotReached, HResult."""
    with objects.made(CLASS, ADMIN_2, deadline) as remote:
        asked = dcom.call().text(ca_name).text(node).string(entry)
        return _variant(remote.ask(GET_CONFIG, asked, deadline))


def blob(reader: Reader) -> bytes:
    """Return bytes that are the method's only result. Raises HResult or NotReached."""
    try:
        found = reader.blob()
    except Tampered as error:
        raise NotReached("dcom", str(error)) from error
    dcom.done(reader)
    return found


def _variant(reader: Reader) -> int | str | None:
    """Return what a VARIANT holds. MS-OAUT section 2.2.29.1."""
    try:
        value = _value(reader) if reader.number() else None
    except Tampered as error:
        raise NotReached("dcom", str(error)) from error
    dcom.done(reader)
    return value


def _value(reader: Reader) -> int | str | None:
    reader.align(8)
    reader.raw(8)
    reader.raw(8)
    kind = reader.number()
    if kind == _NUMBER:
        return reader.number()
    if kind == _EMPTY:
        return None
    if kind != _TEXT:
        raise HResult(_OTHER_KIND)
    if not reader.number():
        return ""
    reader.number(), reader.number()
    length = reader.number()
    if length > LONGEST_VALUE:
        raise Tampered("a value of the CA's configuration is larger than any")
    return reader.raw(2 * length).decode("utf-16-le", "replace").rstrip("\0")


_OTHER_KIND = 0x80020005
"""DISP_E_TYPEMISMATCH: such a value has another kind than ours."""
