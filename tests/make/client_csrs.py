"""Certificate signing requests as the clients of the field build them, each by a sentence.

Where the client's own code or program is at hand (certbot's library, OpenSSL as acme.sh calls it),
it makes the request; elsewhere the request has what that client's source puts into it, in the same
encodings.
"""

import subprocess
from ipaddress import ip_address
from pathlib import Path

from acme import crypto_util
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.make.csrs import (
    a_csr,
    a_raw_csr,
    asking_for,
    cn,
    p256,
    raw_cn,
    raw_extension,
    raw_san,
    rsa_key,
    tlv,
)

PRINTABLE, UTF8 = 0x13, 0x0C
KEY_USAGE, EXTENDED_KEY_USAGE, SAN = "2.5.29.15", "2.5.29.37", "2.5.29.17"


def _pem(key: object) -> bytes:
    text: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())  # type: ignore[attr-defined]
    return text


def by_certbot(*names: str, must_staple: bool = False) -> bytes:
    """certbot: its own library; no subject."""
    addresses = [ip_address(name) for name in names if name[0].isdigit()]
    domains = [name for name in names if not name[0].isdigit()]
    pem = crypto_util.make_csr(_pem(rsa_key()), domains, must_staple, addresses)
    return x509.load_pem_x509_csr(pem).public_bytes(Encoding.DER)


def by_lego(*names: str) -> bytes:
    """lego and Traefik: Go writes the common name as a PrintableString where it can."""
    return a_raw_csr(asking_for(raw_san(*names)), subject=raw_cn(PRINTABLE, names[0].encode()))


def by_caddy(*names: str) -> bytes:
    """Caddy: no subject."""
    return a_raw_csr(asking_for(raw_san(*names)))


def by_simple_acme(*names: str) -> bytes:
    """simple-acme and win-acme: BouncyCastle, the common name as UTF8String."""
    return a_csr(*names, subject=cn(names[0]), key=rsa_key(3072))


def by_acme_sh(folder: Path, *names: str, must_staple: bool = False) -> bytes:
    """acme.sh: OpenSSL with the configuration it writes; `O=acme.sh` where the name is an IP."""
    first = names[0]
    is_ip = first[0].isdigit()
    sans = ",".join(f"{'IP' if name[0].isdigit() else 'DNS'}:{name}" for name in names)
    lines = [
        "[ req_distinguished_name ]",
        "[ req ]",
        "distinguished_name = req_distinguished_name",
        "req_extensions = v3_req",
        "[ v3_req ]",
        "extendedKeyUsage=serverAuth,clientAuth",
        f"subjectAltName={sans}",
    ]
    if must_staple:
        lines += ["basicConstraints = CA:FALSE", "1.3.6.1.5.5.7.1.24=DER:30:03:02:01:05"]
    subject = "/O=acme.sh" if is_ip else f"/CN={first}"
    return _by_openssl(folder, "-sha256", "-subj", subject, conf="\n".join(lines))


def by_hand(folder: Path, *names: str) -> bytes:
    """OpenSSL by hand, as the how-tos have it: a whole subject."""
    conf = "[ req ]\ndistinguished_name = dn\n[ dn ]\n"
    subject = f"/C=DE/ST=Berlin/L=Berlin/O=Example/OU=IT/CN={names[0]}"
    sans = ",".join(f"DNS:{name}" for name in names)
    usage = "keyUsage=critical,digitalSignature,keyEncipherment"
    added = ("-addext", f"subjectAltName={sans}", "-addext", usage)
    return _by_openssl(folder, "-subj", subject, *added, conf=conf)


def by_posh_acme(*names: str) -> bytes:
    """Posh-ACME: basic constraints, a critical key usage, a key identifier."""
    key = p256()
    return a_raw_csr(
        asking_for(
            raw_extension("2.5.29.19", tlv(0x30)),
            _critical(KEY_USAGE, _USAGE),
            raw_extension(
                "2.5.29.14",
                tlv(0x04, x509.SubjectKeyIdentifier.from_public_key(key.public_key()).digest),
            ),
            raw_san(*names),
        ),
        subject=raw_cn(UTF8, names[0].encode()),
    )


def by_cert_manager(*names: str, common_name: bool = False, usages: bool = False) -> bytes:
    """cert-manager: a SAN that is critical where the subject is empty, and a critical key usage."""
    sans = raw_san(*names)
    extensions = [sans if common_name else _made_critical(sans), _critical(KEY_USAGE, _USAGE)]
    if usages:
        purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]).public_bytes()
        extensions.append(raw_extension(EXTENDED_KEY_USAGE, purpose))
    subject = raw_cn(PRINTABLE, names[0].encode()) if common_name else b"\x30\x00"
    return a_raw_csr(asking_for(*extensions), subject=subject)


_USAGE = tlv(0x03, b"\x05\xa0")  # digitalSignature, keyEncipherment


def _critical(dotted: str, value: bytes) -> bytes:
    return _made_critical(raw_extension(dotted, value))


def _made_critical(extension: bytes) -> bytes:
    """The same extension, critical: TRUE between its OID and its value."""
    content = extension[2:] if extension[1] < 0x80 else extension[3:]
    end = 2 + content[1]
    return tlv(0x30, content[:end], b"\x01\x01\xff", content[end:])


def _by_openssl(folder: Path, *options: str, conf: str) -> bytes:
    key, configuration = folder / "key.pem", folder / "csr.conf"
    key.write_bytes(_pem(rsa_key()))
    assert load_pem_private_key(key.read_bytes(), None)
    configuration.write_text(conf + "\n")
    command = ["openssl", "req", "-new", "-key", key, "-config", configuration, "-outform", "DER"]
    made = subprocess.run([*command, *options], capture_output=True, check=False, timeout=30)
    assert made.returncode == 0, made.stderr.decode()
    return made.stdout
