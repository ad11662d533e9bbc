"""Keys and values that are known but not served: each is answered with when, or with what instead.

Users of the product that came before know these names; "unknown key" would send them looking for a
spelling mistake.
"""

from collections.abc import Mapping

from msgspec import Struct

from certeasy.settings import (
    AcmeSettings,
    DatabaseSettings,
    DnsProfile,
    EmbeddedSettings,
    RotateSettings,
    ServerSettings,
    Settings,
    TlsBundle,
    TlsSettings,
    WorkerSettings,
)
from certeasy.settings.adcs import AdcsSettings

LATER = "comes later; this version does not have it"
_ADCS = "belongs to an authority of the types adcs and adcs-cli"
_BY_CLI = "belongs to an authority of the type adcs-cli"
_IN_A_FILE = "is not written here: name a file that only the server can read, with password-file"
_POOL = (
    "is not needed: connections are kept until conn-max-lifetime, and replaced when they are gone"
)
_SELF_ISSUED = "is not needed: an authority that lets wait is asked again by itself"
_QUEUE = "is not needed: the queue is in the database, and workers are woken at once"

KEYS: Mapping[type[Struct], Mapping[str, str]] = {
    Settings: {
        "source": "is not a key; it stands for the file itself",
    },
    ServerSettings: {
        "read-header": "is called read-header-timeout",
        "read": "is called read-timeout",
        "write": "is called write-timeout",
        "idle": "is called idle-timeout",
    },
    DatabaseSettings: dict.fromkeys(("max-idle-conn", "conn-max-idle-time"), _POOL),
    RotateSettings: {
        "max-backups": "is refused: the journal is evidence, and the server never deletes any;"
        " an administrator may move closed segments to an archive"
    },
    WorkerSettings: {
        "worker-id": "is not needed: <workdir>/server_id names this node",
        "idle-min": _QUEUE,
        "idle-max": _QUEUE,
        "queue-size": _QUEUE,
        "max-attempts": "is not counted: authority-wait says how long an order waits",
    },
    TlsSettings: {
        "letsencrypt": "is called acme: its contact, http-addr and others; a bundle says mode:"
        " letsencrypt",
        "acquire-timeout": "is called acme.timeout; an authority that lets wait is asked again by"
        " itself",
        "pki-poll-interval": _SELF_ISSUED,
        "local-pki-cache-dir": "is not needed: it is kept in the database, wrapped by"
        " secrets.key-file",
    },
    TlsBundle: {"letsencrypt": "is a mode: write mode: letsencrypt"},
    AcmeSettings: {
        "email": "is called contact, a list",
        "enabled": "is not needed: a bundle says mode: acme, or mode: letsencrypt",
        "cache-dir": "is not needed: it is kept in the database, wrapped by secrets.key-file",
    },
    EmbeddedSettings: {
        "ca-name": _ADCS,
        "certificate-template": _ADCS,
        "default-timeout": _ADCS,
        "certreq-path": _ADCS,
        "certutil-path": _ADCS,
        "password": "is not needed: the CA's key is wrapped by secrets.key-file",
        "key-size": "is written key.size, with key.type: rsa",
    },
    AdcsSettings: {
        "certreq-path": _BY_CLI,
        "certutil-path": _BY_CLI,
        "password": _IN_A_FILE,
        "template": "is called certificate-template",
        "dc": "is called domain-controllers, a list",
    },
}

VALUES: Mapping[tuple[type[Struct], str], frozenset[str]] = {
    (Settings, "topology"): frozenset({"standby", "active-active"}),
    (DnsProfile, "mode"): frozenset({"remote"}),
}
