"""The forms of single values: addresses, URLs, durations, paths.

Each takes what was written and returns the value in one form, or raises ValueError with the rest
of a sentence that begins with the value: `"abc"` *is not host:port*.
"""

import re
from datetime import timedelta
from fractions import Fraction
from ipaddress import IPv6Address, ip_address, ip_network
from pathlib import Path
from typing import get_args
from urllib.parse import urlsplit

from certeasy.config.mistakes import quoted
from certeasy.settings import WORKDIR, Network, Service
from certeasy.settings.names import canonical, fault, parse

CONFIGDIR = "%CONFIGDIR%"
DNS_PORT = 53
LAST_PORT = 65535
LONGEST_TAG = 255
LONGEST_MAILBOX = 254
SERVICES: tuple[str, ...] = get_args(Service)

_UNITS = {
    "ms": timedelta(milliseconds=1),
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
}
_NOT_IN_A_LINK = frozenset(',"<>')
_LONGEST = timedelta(days=36500)
_DURATION = re.compile(r"(?:[0-9]{1,13}(?:ms|s|m|h|d))+", re.ASCII)
_PART = re.compile(r"([0-9]+)(ms|s|m|h|d)", re.ASCII)
_FRACTION = re.compile(r"[0-9]{1,6}/[1-9][0-9]{0,5}|0?\.[0-9]{1,6}", re.ASCII)
_ANCHOR = re.compile(r"(%[A-Za-z_]*%)(?:[/\\]+(.*))?", re.DOTALL)
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}", re.ASCII)
# Digests of the types 1 (SHA-1), 2 (SHA-256) and 4 (SHA-384). RFC 4034 section 5, RFC 9364.
_DS = re.compile(
    "[0-9]{1,5} [0-9]{1,3} (1 [0-9a-f]{40}|2 [0-9a-f]{64}|4 [0-9a-f]{96})",
    re.ASCII | re.IGNORECASE,
)
_VISIBLE = re.compile(r"[!-~]+")
# Printable ASCII without what has a meaning in a header or an SMTP command.
_MAILBOX = re.compile(
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}@[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?"
)
_TAG = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,31}", re.ASCII)
_OID = re.compile(r"[0-2](\.(0|[1-9][0-9]{0,19})){1,20}", re.ASCII)
# With one of these a key that serves a web page could sign code, vouch for the time or for other
# certificates, or log on as somebody: in a Windows domain that is the domain's end.
_DANGEROUS_EKU = {
    "2.5.29.37.0": "anyExtendedKeyUsage",
    "1.3.6.1.5.5.7.3.3": "codeSigning",
    "1.3.6.1.5.5.7.3.8": "timeStamping",
    "1.3.6.1.5.5.7.3.9": "OCSPSigning",
    "1.3.6.1.4.1.311.20.2.1": "certificate request agent",
    "1.3.6.1.4.1.311.20.2.2": "smart card logon",
    "1.3.6.1.4.1.311.21.5": "private key archival",
    "1.3.6.1.4.1.311.21.6": "key recovery agent",
    "1.3.6.1.5.2.3.4": "Kerberos client authentication",
}


def duration(text: str) -> timedelta:
    """Return how long a key of the file says; more than nothing, at most 100 years."""
    length = span(text)
    if not length:
        raise ValueError("would switch it off, which cannot be; leave the key out for the default")
    return length


def span(text: str) -> timedelta:
    """Return how long `90s`, `2m`, `1h30m` or `7d` is; at most 100 years."""
    zero = set(text) == {"0"}
    if text.isdecimal() and not zero:
        raise ValueError(f"has no unit: write {text}s, {text}m, {text}h or {text}d")
    if not _DURATION.fullmatch(text) and not zero:
        raise ValueError("is not a duration such as 500ms, 30s, 2m, 720h or 7d")
    parts = _PART.findall(text)
    # Measured in float first: the numbers may be larger than a timedelta holds.
    if sum(int(n) * _UNITS[unit].total_seconds() for n, unit in parts) > _LONGEST.total_seconds():
        raise ValueError("is longer than 100 years")
    return sum((int(n) * _UNITS[unit] for n, unit in parts), timedelta())


def duration_text(length: timedelta) -> str:
    """Return the duration as it may be written in the file: `90s`, `720h`."""
    for unit, one in reversed(_UNITS.items()):
        if length % one == timedelta():
            return f"{length // one}{unit}"
    return f"{length.total_seconds()}s"


def fraction(text: str) -> Fraction:
    """Return the part of a whole that `2/3` or `0.75` is: more than nothing, less than all."""
    if not _FRACTION.fullmatch(text):
        raise ValueError("is not a fraction such as 2/3 or 0.75")
    part = Fraction(text)
    if not 0 < part < 1:
        raise ValueError("is not between 0 and 1")
    return part


def network(text: str) -> Network:
    """Return the network that a CIDR or a single address names."""
    try:
        return ip_network(text)
    except ValueError:
        pass
    try:
        near = ip_network(text, strict=False)
    except ValueError:
        raise ValueError("is not a network such as 10.0.0.0/8 or fd00::/8") from None
    raise ValueError(f"has bits set behind its prefix; the network is {near}")


def address(text: str) -> str:
    """Return the IP address in its canonical form."""
    try:
        return str(ip_address(text))
    except ValueError:
        raise ValueError("is not an IP address") from None


def is_address(text: str) -> bool:
    """Whether a host is written as an IP address."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def ca_name(text: str) -> str:
    r"""Return `COMMON NAME` or `HOST\COMMON NAME`, the host lower-case."""
    host, slash, common = text.rpartition("\\")
    if "\\" in host:
        raise ValueError(
            r"has two backslashes; it is HOST\COMMON NAME (in double quotes, YAML"
            r" wants \\ for \)"
        )
    if slash and not host:
        raise ValueError("has no host before the backslash")
    return f"{machine(host)}\\{rpc_word(common)}" if slash else rpc_word(common)


def rpc_word(text: str) -> str:
    """Return a word that CAs and their programs take as one: a template's or a CA's name."""
    if not text.strip():
        raise ValueError("is empty")
    if text.startswith(("-", "/")) or ":" in text:
        raise ValueError("begins with - or /, or has a colon, which certreq would take for more")
    if "\\" in text:
        # certreq takes \n for the end of a line, and what follows for another attribute.
        raise ValueError("has a backslash, which certreq would take for more")
    return text.strip()


def machine(text: str) -> str:
    """Return the name or the address of a machine, lower-case, without a port."""
    if is_address(text):
        return str(ip_address(text))
    if ":" in text or "/" in text:
        raise ValueError("is no host name: write it without scheme and port")
    found = canonical(text)
    if (wrong := fault(found)) is not None:
        raise ValueError(f"is no host name: it {wrong}")
    return found


def domain_controller(text: str) -> str:
    """Return `host` or `host:port`; the port is that of Kerberos, 88, if it is not said."""
    host, colon, port = text.rpartition(":")
    if not colon or is_address(text):
        return machine(text)
    return f"{machine(host.strip('[]'))}:{_port(port, least=1)}"


def account(text: str) -> str:
    """Return an account's name in its domain, without the domain."""
    if "@" in text or "\\" in text or "/" in text:
        raise ValueError(
            "is the account's name alone (sAMAccountName): its domain is set by domain"
        )
    return text


def host_port(text: str) -> str:
    """Return `address:port` to listen on; an IPv6 address stands in brackets."""
    host, colon, port = text.rpartition(":")
    if not colon or (not host and not port):
        raise ValueError("is not host:port, such as 0.0.0.0:8443")
    if not host:
        raise ValueError(f"has no host: write 0.0.0.0:{port} for all addresses")
    number = _port(port, least=0)
    if host == "localhost":
        return f"{host}:{number}"
    return f"{_ip_host(host)}:{number}"


def loopback(text: str) -> str:
    """Return `address:port` on loopback."""
    place = host_port(text)
    host = place.rpartition(":")[0].strip("[]")
    if host != "localhost" and not ip_address(host).is_loopback:
        raise ValueError("is not on loopback; this listener speaks plain HTTP, so only there")
    return place


def dns_server(text: str) -> str:
    """Return `address:port`; port 53 if none is said."""
    try:
        alone = ip_address(text.removeprefix("[").removesuffix("]"))
    except ValueError:
        host, _, port = text.rpartition(":")
        if not host:
            raise ValueError("is not address:port, such as 10.0.0.53:53") from None
        return f"{_ip_host(host)}:{_port(port, least=1)}"
    bracketed = f"[{alone}]" if isinstance(alone, IPv6Address) else str(alone)
    return f"{bracketed}:{DNS_PORT}"


def https_url(text: str) -> str:
    """Return `https://host[:port]` in lower case, nothing behind it."""
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise ValueError("is not a URL such as https://acme.corp.example") from None
    if parts.scheme == "http":
        raise ValueError(
            "is not https; ACME clients are given https URLs only"
            " (behind a proxy that speaks TLS: keep https here, and set server.tls: false)"
        )
    if parts.scheme != "https" or not host:
        raise ValueError("is not a URL such as https://acme.corp.example")
    if parts.username is not None or parts.query or parts.fragment or parts.path not in ("", "/"):
        raise ValueError("has more than https://host[:port]")
    host = tls_host(host)
    if port == 0 or parts.netloc.endswith(":"):
        raise ValueError("has an empty port")
    place = f"[{host}]" if ":" in host else host
    return f"https://{place}" if port is None else f"https://{place}:{port}"


def web_url(text: str) -> str:
    """Return the URL of a page for people."""
    try:
        parts = urlsplit(text)
        known = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        known = False
    if not known or " " in text:
        raise ValueError("is not a URL such as https://www.corp.example/acme")
    if _NOT_IN_A_LINK.intersection(text):
        raise ValueError("has a comma, quote or angle bracket, which a Link header cannot carry")
    return text


def endpoint(text: str) -> str:
    """Return the URL of what answers programs; with a path and a query, without a user."""
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise ValueError("is not a URL such as https://hooks.corp.example/certeasy") from None
    if parts.scheme not in ("http", "https") or not host or not _VISIBLE.fullmatch(text):
        raise ValueError("is not a URL such as https://hooks.corp.example/certeasy")
    if parts.username is not None or parts.fragment or port == 0:
        raise ValueError("has a user name, a fragment or no port, which it cannot have")
    machine(host)
    return text


def vendor(text: str) -> str:
    """Return the URL of the vendor's server: https, but for a server on this machine."""
    found = endpoint(text)
    host = urlsplit(found).hostname or ""
    if found.startswith("http:") and not (is_address(host) and ip_address(host).is_loopback):
        raise ValueError("is not https, which only a loopback address can do without")
    return found


def proxy(text: str) -> str:
    """Return the URL of an HTTP proxy, `http://host:port`."""
    wrong = ValueError("is not the URL of a proxy, such as http://proxy.corp.example:3128")
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise wrong from None
    if not host or not port or text.removesuffix("/") != f"http://{parts.netloc}":
        raise wrong
    if parts.username is not None:
        raise ValueError("has a user name, and none is sent: name a proxy that asks for none")
    machine(host)
    return text


def acme_directory(text: str) -> str:
    """Return the URL of an ACME server's directory."""
    if not text.startswith("https://"):
        raise ValueError("is not the https URL of an ACME server's directory")
    return endpoint(text)


def mail_address(text: str) -> str:
    """Return the address of a mailbox, without a name in front."""
    if not _MAILBOX.fullmatch(text) or len(text) > LONGEST_MAILBOX:
        raise ValueError("is not the address of a mailbox, such as pki@corp.example")
    return text


def tls_host(text: str) -> str:
    """Return a host as certificates name it: a DNS name or an IP address."""
    try:
        return str(ip_address(text))
    except ValueError:
        return name(text)


def name(text: str) -> str:
    """Return the DNS name in its canonical form."""
    found = canonical(text)
    if wrong := fault(found):
        raise ValueError(wrong)
    return found


def suffix(text: str) -> str:
    """Return the zone in its canonical form, without a dot in front; `.` for all names."""
    return "." if text == "." else name(text.removeprefix("."))


def host_pattern(text: str) -> str:
    """Return NAME or `*.ZONE` in its canonical form."""
    star = "*." if text.startswith("*.") else ""
    return star + name(text.removeprefix("*."))


def host_of_table(text: str) -> str:
    """Return the name that an address is given to, in its canonical form."""
    try:
        return host_pattern(text)
    except ValueError as wrong:
        raise ValueError(f"is neither a NAME nor *.ZONE: it {wrong}") from None


def service(text: str) -> str:
    """Return the name of a part of the server."""
    if text not in SERVICES:
        raise ValueError(f"is no service of this server; allowed: {', '.join(SERVICES)}")
    return text


def tag(text: str) -> str:
    """Return the name of a tag."""
    if not _TAG.fullmatch(text):
        raise ValueError(
            "is no name of a tag: a letter, then up to 31 letters, digits, hyphens, dots or"
            " underscores"
        )
    return text


def tag_text(text: str) -> str:
    """Return what a tag says."""
    if not 0 < len(text) <= LONGEST_TAG or not text.isprintable():
        raise ValueError(f"is not 1 to {LONGEST_TAG} characters that can be printed")
    return text


def name_rule(text: str) -> str:
    """Return the rule as it was written, once it is understood."""
    try:
        parse(text)
    except ValueError as wrong:
        raise ValueError(f"is not a rule for names: {wrong}") from None
    return text


def trust_anchor(text: str) -> str:
    """Return `ZONE TAG ALGORITHM DIGEST-TYPE DIGEST` in its canonical form."""
    zone, _, rest = " ".join(text.split()).partition(" ")
    if not _DS.fullmatch(rest):
        raise ValueError("is not ZONE and a DS record: corp.example 12345 13 2 49FD46E6C4B45C55...")
    return f"{suffix(zone if zone == '.' else zone.removesuffix('.'))} {rest.lower()}"


def header(text: str) -> str:
    """Return the name of an HTTP header."""
    if not _HEADER.fullmatch(text):
        raise ValueError("is not the name of an HTTP header, such as X-Forwarded-For")
    return text


def eku(text: str) -> str:
    """Return `clientAuth` or a dotted OID that may stand beside serverAuth."""
    if text != "clientAuth" and not _OID.fullmatch(text):
        raise ValueError("is neither clientAuth nor a dotted OID")
    if text in _DANGEROUS_EKU:
        raise ValueError(f"is {_DANGEROUS_EKU[text]}, which no server certificate may carry")
    return text


def path(text: str, *, configdir: Path, workdir: Path | None) -> Path:
    """Return the absolute path; anchors replaced. `workdir` None: its own path is being read."""
    anchors = {CONFIGDIR: configdir} | ({} if workdir is None else {WORKDIR: workdir})
    offered = " or ".join(anchors)
    found = _ANCHOR.fullmatch(text)
    if found and found[1] in anchors:
        return anchors[found[1]] / (found[2] or "")
    if found:
        raise ValueError(f"begins with an anchor that is not known here; known: {offered}")
    if text.startswith("%"):
        raise ValueError(f"begins with no anchor known here; known: {offered}, then a slash")
    if not Path(text).is_absolute():
        raise ValueError(f"is a relative path; write an absolute one, or begin it with {offered}")
    return Path(text)


def _ip_host(host: str) -> str:
    """Return the address in front of a port, an IPv6 address in its brackets."""
    bracketed = host.startswith("[") and host.endswith("]")
    try:
        found = ip_address(host[1:-1] if bracketed else host)
    except ValueError:
        raise ValueError(f"has {quoted(host)} in front of the port, no IP address") from None
    if isinstance(found, IPv6Address) != bracketed:
        raise ValueError("must have an IPv6 address, and only that, in brackets: [::1]:8443")
    return f"[{found}]" if bracketed else str(found)


def _port(text: str, *, least: int) -> int:
    """Return the number of a port."""
    number = int(text) if text.isascii() and text.isdecimal() and len(text) <= len("65535") else -1
    if not least <= number <= LAST_PORT:
        raise ValueError(f"has no port from {least} to {LAST_PORT} behind the last colon")
    return number
