"""Single values: is it text, a number, true or false; and is it one of those allowed.

Every function raises ValueError with a whole sentence, the value as it was written included.
"""

from collections.abc import Callable, Mapping
from datetime import timedelta
from fractions import Fraction
from functools import partial
from pathlib import Path
from re import search
from typing import Any, Literal, get_args, get_origin

from msgspec import Meta, Struct
from yaml.nodes import MappingNode, Node, ScalarNode

from certeasy.config import document, forms, later
from certeasy.config.mistakes import quoted
from certeasy.settings import (
    AcmeSettings,
    AdminSettings,
    CertificateProfile,
    CsrRules,
    DnsProfile,
    DnsZone,
    IpPolicy,
    IpRules,
    LicenseSettings,
    LogSettings,
    NameRules,
    RenewalInfoSettings,
    ServerSettings,
    SmtpSettings,
    TlsBundle,
    WebhookSettings,
)
from certeasy.settings.adcs import AdcsCliSettings, AdcsSettings
from certeasy.settings.limits import RateLimiting

Place = tuple[type[Struct], str]
"""A struct and the name of one of its fields."""
Form = Callable[[str], object]

LONGEST_TEXT = 4096

TABLES: Mapping[Place, tuple[str, Callable[[str], str]]] = {
    (DnsZone, "hosts"): ("NAME: ADDRESS", forms.host_of_table),
    (LogSettings, "services"): ("NAME: LEVEL", forms.service),
    (LogSettings, "tags"): ("NAME: TEXT", forms.tag),
}
"""What the lines of a table are, and what its names have to look like."""

# Values whose type alone does not say what they have to look like.
FORMS: Mapping[Place, Form] = {
    (ServerSettings, "url"): forms.https_url,
    (ServerSettings, "listen"): forms.host_port,
    (ServerSettings, "remote_ip_header"): forms.header,
    (ServerSettings, "terms_of_service"): forms.web_url,
    (ServerSettings, "website"): forms.web_url,
    (ServerSettings, "caa_identities"): forms.name,
    (ServerSettings, "trusted_proxies"): forms.network,
    (AdminSettings, "listen"): forms.loopback,
    (TlsBundle, "hosts"): forms.tls_host,
    (AcmeSettings, "directory"): forms.acme_directory,
    (AcmeSettings, "contact"): forms.mail_address,
    (AcmeSettings, "http_addr"): forms.host_port,
    (DnsZone, "suffixes"): forms.suffix,
    (DnsZone, "dns_server"): forms.dns_server,
    (DnsZone, "hosts"): forms.address,
    (DnsProfile, "trust_anchors"): forms.trust_anchor,
    (IpPolicy, "allow_cidrs"): forms.network,
    (IpPolicy, "deny_cidrs"): forms.network,
    (IpRules, "allow_cidrs"): forms.network,
    (LogSettings, "tags"): forms.tag_text,
    (IpRules, "deny_cidrs"): forms.network,
    (NameRules, "allow"): forms.name_rule,
    (NameRules, "deny"): forms.name_rule,
    (CsrRules, "allowed_extra_eku"): forms.eku,
    (CsrRules, "ignored_eku"): forms.eku,
    (RenewalInfoSettings, "explanation_url"): forms.web_url,
    (WebhookSettings, "url"): forms.endpoint,
    (SmtpSettings, "host"): forms.machine,
    (LicenseSettings, "refresh_url"): forms.vendor,
    (LicenseSettings, "proxy_url"): forms.proxy,
    (SmtpSettings, "sender"): forms.mail_address,
    (SmtpSettings, "to"): forms.mail_address,
    (RateLimiting, "whitelist"): forms.network,
    (RateLimiting, "help_url"): forms.web_url,
    (AdcsSettings, "ca_name"): forms.ca_name,
    (AdcsSettings, "certificate_template"): forms.rpc_word,
    (AdcsSettings, "host"): forms.machine,
    (AdcsSettings, "address"): forms.machine,
    (AdcsSettings, "domain"): forms.name,
    (AdcsSettings, "user"): forms.account,
    (AdcsSettings, "domain_controllers"): forms.domain_controller,
    (AdcsCliSettings, "ca_name"): forms.ca_name,
    (AdcsCliSettings, "certificate_template"): forms.rpc_word,
    (CertificateProfile, "template"): forms.rpc_word,
}


def scalar(
    node: Node, kind: Any, meta: Meta | None, *, at: str, place: Place, path: Form
) -> object:
    """Return the value of a node, of a type that is no section, list or table.

    `at` is its key as messages name it; `path` reads paths, and knows the anchors of this file.
    """
    if not isinstance(node, ScalarNode):
        raise ValueError(f"must be a single value, not {noun(node)}")  # noqa: TRY004 - one kind of refusal
    if node.tag == document.NOTHING:
        raise ValueError("has no value; write one, or leave the key out for the default")
    shown = quoted(node.value, at)
    if kind is bool:
        return _truth(node, shown)
    if kind is int:
        return _number(node, shown, meta)
    text = _text(node, shown, bare_number=kind in (timedelta, Fraction))
    if get_origin(kind) is Literal:
        return _choice(text, get_args(kind), shown, place)
    try:
        return _form(kind, meta, place, path)(text)
    except ValueError as wrong:
        raise ValueError(f"{shown} {wrong}") from None


def noun(node: Node) -> str:
    """Return what a node is, for a message that wanted something else."""
    if not isinstance(node, ScalarNode):
        return "a section" if isinstance(node, MappingNode) else "a list"
    words = {document.NOTHING: "nothing", document.NUMBER: "a number"}
    return words.get(node.tag, "a single value")


def _form(kind: Any, meta: Meta | None, place: Place, path: Form) -> Form:
    """Return the function that understands a text at this place."""
    if kind is timedelta:
        return forms.duration
    if kind is Fraction:
        return forms.fraction
    if kind is Path:
        return path
    return FORMS.get(place) or partial(_plain, meta=meta)


def _text(node: ScalarNode, shown: str, *, bare_number: bool) -> str:
    """Return the node's text. A number counts only where a better message comes after it."""
    if node.tag != document.TEXT and not (bare_number and node.tag == document.NUMBER):
        if node.tag in (document.NUMBER, document.TRUTH):
            raise ValueError(f"must be text: write {shown}, in quotes")
        raise ValueError(f"{shown} has the tag {quoted(node.tag)}, which means nothing here")
    if len(node.value) > LONGEST_TEXT:
        raise ValueError(f"{shown} is longer than {LONGEST_TEXT} characters")
    if not node.value.isprintable():
        raise ValueError(f"{shown} contains line ends or control characters")
    if search(r"\$\{[^}]*\}?", node.value):
        raise ValueError(f"{shown} contains ${{...}}: variables are not expanded, write the value")
    return str(node.value)


def _truth(node: ScalarNode, shown: str) -> bool:
    """Return true or false."""
    if node.tag != document.TRUTH:
        raise ValueError(f"{shown} is not true or false")
    return str(node.value).lower() == "true"


def _number(node: ScalarNode, shown: str, meta: Meta | None) -> int:
    """Return a whole number between its bounds."""
    least = meta.ge if meta and meta.ge is not None else 0
    most = meta.le if meta and meta.le is not None else (1 << 53)
    allowed = f"allowed: {least} to {most}"
    if node.tag != document.NUMBER:
        raise ValueError(f"{shown} is not a whole number; {allowed}")
    # The length first: int() of a million digits would take its time.
    number = int(node.value) if len(node.value) <= len(str(1 << 53)) else None
    if number is None or not least <= number <= most:
        raise ValueError(f"{shown} is out of bounds; {allowed}")
    return number


def _choice(text: str, allowed: tuple[str, ...], shown: str, place: Place) -> str:
    """Return the text if it is one of the words."""
    if text in allowed:
        return text
    words = ", ".join(allowed)
    if text in later.VALUES.get(place, ()):
        raise ValueError(f"{shown} comes later; in this version only: {words}")
    raise ValueError(f"{shown} is not known; allowed: {words}")


def _plain(text: str, meta: Meta | None) -> str:
    """Return a text within the bounds of its type."""
    if meta and meta.pattern and not search(meta.pattern, text):
        raise ValueError("is no name: 1 to 64 letters, digits, dots, hyphens or underscores")
    if meta and meta.max_length and len(text) > meta.max_length:
        raise ValueError(f"is longer than {meta.max_length} characters")
    if not text:
        raise ValueError("is empty")
    return text
