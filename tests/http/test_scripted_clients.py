"""What clients do that cannot be installed here, or only on other systems: each as it is known to
behave, with no more patience than it has.

They are built from what their users and makers have written about them. The numbers are those of
the list of pitfalls that the tests' docstrings name.
"""

import re
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.make.certificates import cert_id_of
from tests.make.csrs import a_csr, cn, p256, rsa_key, san
from tests.make.lab import URL, Client, Lab, Result, a_lab
from tests.make.signers import Signer, a_signer, b64
from tests.make.slow_lab import a_lab_with_a_slow_authority


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with a_lab(tmp_path_factory.mktemp("lab")) as made:
        yield made


@pytest.fixture
def client(lab: Lab) -> Client:
    made = lab.client()
    made.register()
    return made


# ---------------------------------------------------------------- FortiGate


def test_fortigate_polls_by_finalizing_again(tmp_path: Path) -> None:
    """Pitfall 20, RFC 8555 section 7.4: it never looks at the order, and never changes its CSR."""
    quick = timedelta(seconds=0.05)
    with a_lab_with_a_slow_authority(tmp_path, finalize_wait=quick) as lab:
        client = lab.client()
        client.register()
        order = client.ready("fortigate.lab.test")
        finalize, csr = client.see(order)["finalize"], b64(a_csr("fortigate.lab.test"))
        statuses = []
        for work in (False, False, True, False, False):
            if work:
                lab.server.workers.look_around()
                client.wait(order, "valid", "invalid")
            result = client.post(finalize, {"csr": csr})
            assert result.status_code == 200
            assert result.headers["location"] == order
            statuses.append(result.json["status"])
        assert statuses == ["processing", "processing", "valid", "valid", "valid"]
        chain = client.post(result.json["certificate"]).content
        assert x509.load_pem_x509_certificates(chain)


# ---------------------------------------------------------------- Proxmox

STRICT_PEM = re.compile(
    rb"(?:-----BEGIN CERTIFICATE-----\n"
    rb"(?:[A-Za-z0-9+/]{64}\n)*[A-Za-z0-9+/]{1,64}={0,2}\n"
    rb"-----END CERTIFICATE-----\n)+"
)


def test_proxmox_gets_its_nonces_by_get_and_a_chain_of_strict_pem(lab: Lab) -> None:
    """Pitfalls 5 and 39, RFC 8555 sections 7.2 and 9.1.

    RS256; a nonce by GET before every request; contacts and terms of service always sent; a chain
    that is PEM in lines of 64 from its first byte to its last, or nothing.
    """
    client = lab.client(a_signer("RS256"))

    def post(url: str, payload: bytes | dict[str, Any] = b"") -> Result:
        given = lab.wire.simulate_get("/acme/new-nonce")
        assert (given.status_code, given.content) == (204, b"")
        return client.post(url, payload, nonce=given.headers["replay-nonce"])

    directory = lab.wire.simulate_get("/acme/directory").json
    agreed = {"contact": ["mailto:root@pve.lab.test"], "termsOfServiceAgreed": True}
    account = post(directory["newAccount"], agreed)
    assert account.status_code == 201
    client.kid = account.headers["location"]
    names = [{"type": "dns", "value": "pve.lab.test"}]
    placed = post(directory["newOrder"], {"identifiers": names})
    (authorization,) = placed.json["authorizations"]
    (challenge,) = post(authorization).json["challenges"]
    lab.shown[challenge["token"]] = client.key_authorization(challenge["token"])
    assert post(challenge["url"], {}).status_code == 200
    client.wait(authorization, "valid", "invalid")
    csr = a_csr("pve.lab.test", key=rsa_key(), subject=cn("pve.lab.test"))
    assert post(placed.json["finalize"], {"csr": b64(csr)}).status_code == 200
    order = post(placed.headers["location"]).json
    assert order["status"] == "valid"
    result = post(order["certificate"])
    assert result.headers["content-type"] == "application/pem-certificate-chain"
    assert STRICT_PEM.fullmatch(result.content)


# ---------------------------------------------------------------- MikroTik and simple-acme


@pytest.mark.parametrize("contact", [{}, {"contact": []}], ids=["none", "empty"])
def test_mikrotik_registers_without_a_contact(lab: Lab, contact: dict[str, Any]) -> None:
    """Pitfall 13, RFC 8555 section 7.3: RouterOS has no field for one, simple-acme leaves it out.

    What comes back has the member all the same, because win-acme reads it.
    """
    client = lab.client(a_signer("RS256"))
    created = client.register(**contact)
    assert (created.status_code, created.json["contact"]) == (201, [])
    again = client.register(**contact)
    assert (again.status_code, again.json["contact"]) == (200, [])
    csr = a_csr("router.lab.test", key=rsa_key(), subject=cn("router.lab.test"))
    order = client.ready("router.lab.test")
    assert client.finalize(order, csr).json["status"] == "valid"


# ---------------------------------------------------------------- macOS


class ShortSigner(Signer):
    """Writes R and S as numbers, without their leading zeros; here every signature has one."""

    def sign(self, data: bytes) -> bytes:
        """Return a signature of 63 bytes, or 62."""
        while True:
            signature = super().sign(data)
            r, s = signature[:32].lstrip(b"\0"), signature[32:].lstrip(b"\0")
            if 62 <= len(r + s) < 64:
                return r + s


def test_the_signatures_of_macos_are_read_although_zeros_are_missing(lab: Lab) -> None:
    """Pitfall 6, RFC 7518 section 3.4: its ES256 signatures lose a leading zero of R or S."""
    client = lab.client(ShortSigner("ES256", ec.generate_private_key(ec.SECP256R1())))
    client.register()
    assert x509.load_pem_x509_certificates(client.certificate("mac.lab.test"))


# ---------------------------------------------------------------- Posh-ACME and cert-manager

SERVER_USAGE = x509.KeyUsage(
    digital_signature=True,
    key_encipherment=True,
    content_commitment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=False,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)


def issued(client: Client, csr: bytes, *names: str) -> list[x509.Certificate]:
    """Prove the names, finalize with the request, and return the chain that comes of it."""
    order = client.ready(*names)
    result = client.finalize(order, csr)
    assert result.status_code == 200, result.text
    chain = client.post(client.wait(order, "valid", "invalid")["certificate"])
    return x509.load_pem_x509_certificates(chain.content)


def test_posh_acme_asks_for_what_every_server_certificate_has(client: Client) -> None:
    """Pitfall 37, RFC 8555 section 7.4: its request is CN, basic constraints, a critical key usage,
    a key identifier, then the names; it cannot be told to ask for less."""
    key = rsa_key()
    names = ("web.lab.test", "www.lab.test")
    request = a_request(
        cn("web.lab.test"),
        key,
        (x509.BasicConstraints(ca=False, path_length=None), False),
        (SERVER_USAGE, True),
        (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
        (san(*names), False),
    )
    leaf, *_ = issued(client, request, *names)
    assert leaf.public_key() == key.public_key()
    basic = leaf.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert not basic.ca


POSH_ACME_LINK = re.compile('<(https://[^>]+)>;rel="([^"]+)"')


def test_posh_acme_reads_links_by_one_pattern(lab: Lab, client: Client) -> None:
    """Pitfall 40: no space after the semicolon, the relation in quotes, one link to a header."""
    client.post(client.see(client.issued("web.lab.test"))["certificate"])
    found = [POSH_ACME_LINK.fullmatch(link) for link in lab.links]
    assert all(found), lab.links
    assert "index" in [match.group(2) for match in found if match]


@pytest.mark.parametrize("purposes", [False, True], ids=["usages", "usages and server auth"])
@pytest.mark.parametrize("common_name", [False, True], ids=["no CN", "CN"])
def test_cert_manager_asks_for_usages_and_has_critical_names_without_a_subject(
    client: Client, *, common_name: bool, purposes: bool
) -> None:
    """Pitfall 37, RFC 5280 section 4.2.1.6: names are critical where there is no subject."""
    key = rsa_key()
    wishes: list[tuple[x509.ExtensionType, bool]] = [
        (san("pod.lab.test"), not common_name),
        (SERVER_USAGE, True),
    ]
    if purposes:
        wishes.append((x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False))
    subject = cn("pod.lab.test") if common_name else x509.Name([])
    leaf, *chain = issued(client, a_request(subject, key, *wishes), "pod.lab.test")
    assert leaf.public_key() == key.public_key()
    assert len(chain) < 5  # it takes no more than five certificates in all


def test_cert_manager_registers_anew_at_each_start(lab: Lab, client: Client) -> None:
    """Notes on Kubernetes, RFC 8555 section 7.3.1: the same key asks first whether it is known,
    then registers with everything it has; both are answered 200 with the account."""
    before = client.kid
    for wish in ({"onlyReturnExisting": True}, {"contact": ["mailto:ops@lab.test"]}) * 3:
        result = client.register(**wish)
        assert (result.status_code, result.headers["location"]) == (200, before)
        assert result.json["status"] == "valid"


def a_request(subject: x509.Name, key: Any, *extensions: tuple[x509.ExtensionType, bool]) -> bytes:
    """A request with extensions in their order, each critical or not."""
    builder = x509.CertificateSigningRequestBuilder(subject)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


# ---------------------------------------------------------------- acme.sh


PATIENCE = 30
"""How often it looks before it gives up."""


class AcmeSh:
    """acme.sh has no JSON parser and no list of headers: it searches texts for patterns.

    `greedy` is how it does so where grep cannot show matches alone: sed finds the last match of a
    line, where grep -o finds them all.
    """

    def __init__(self, lab: Lab, *, greedy: bool) -> None:
        self.client = lab.client()
        self.greedy = greedy
        self.code = 0
        self.headers = ""
        self.body = ""
        listed = lab.wire.simulate_get("/acme/directory").text
        self.urls = {
            name: self.first(f'{name}" *: *"[^"]*', listed).rpartition('"')[2]
            for name in ("newNonce", "newAccount", "newOrder", "revokeCert", "renewalInfo")
        }

    def matches(self, pattern: str, text: str) -> list[str]:
        """Return what a search finds."""
        found: list[str] = []
        for line in text.splitlines():
            if not self.greedy:
                found += [match.group() for match in re.finditer(pattern, line)]
            elif match := re.match(f".*({pattern}).*", line):
                found.append(match.group(1))
        return found

    def first(self, pattern: str, text: str) -> str:
        """Return the first that a search finds, or nothing."""
        return next(iter(self.matches(pattern, text)), "")

    def field(self, name: str) -> str:
        """Return the text between the quotes that follow a member's name."""
        found = self.first(f'"{name}" *: *"[^"]*"', self.body)
        return found.split('"')[3] if found else ""

    def header(self, name: str) -> str:
        """Return the last header of that name."""
        lines = [line for line in self.headers.splitlines() if line.lower().startswith(name)]
        return lines[-1].partition(":")[2].strip() if lines else ""

    def send(self, url: str, payload: dict[str, Any] | bytes = b"") -> None:
        """Send a request; JSON is made one line only if its type begins as that of JSON does."""
        result = self.client.post(url, payload)
        self.code = result.status_code
        self.headers = "".join(f"{name}: {value}\n" for name, value in result.headers.items())
        self.body = result.text
        if self.header("content-type").startswith("application/json"):
            self.body = re.sub('" *: *(["{[])', r'":\1', self.body).replace("\n", "")

    def register(self) -> None:
        """Register; 200, 201 and 409 are all the same to it."""
        self.send(self.urls["newAccount"], {"termsOfServiceAgreed": True})
        assert self.code in (200, 201, 409)
        self.client.kid = self.header("location")
        assert self.client.kid.startswith(URL)

    def order(self, *names: str, **wishes: Any) -> str:
        """Place an order and return its URL."""
        identifiers = [{"type": "dns", "value": name} for name in names]
        self.send(self.urls["newOrder"], {"identifiers": identifiers} | wishes)
        assert '"status":"invalid"' not in self.body
        return self.header("location")

    def renews(self, name: str, replaces: str) -> bool:
        """Order a successor; where the answer has one of four words, order again without saying so.
        Return whether it was taken as it was."""
        self.order(name, replaces=replaces)
        words = ("alreadyReplaced", "urn:ietf:params:acme:error:malformed", "'replaces'", "ARI")
        refused = any(word in self.body for word in words)
        if refused:
            self.order(name)
        assert self.code == 201
        assert self.field("finalize")
        return not refused

    def window(self, name: str) -> tuple[datetime, datetime]:
        """Ask when to renew: two texts behind two words."""
        url = f"{self.urls['renewalInfo']}/{name}"
        self.body = self.client.lab.wire.simulate_get(url.removeprefix(URL)).text
        start, end = (self.field(word).replace("Z", "+00:00") for word in ("start", "end"))
        return datetime.fromisoformat(start), datetime.fromisoformat(end)

    def authorizations(self) -> list[str]:
        """Return the URLs of what must be proven: a list without brackets in it."""
        found = self.first(r'"authorizations" *: *\[[^\[]*\]', self.body)
        return found.partition("[")[2].strip(']"').replace('"', "").split(",")

    def challenge(self, kind: str) -> tuple[str, str]:
        """Return URL and token of a challenge: an object without objects in it."""
        entry = self.first(f'[^{{]*"type":"{kind}"[^}}]*', self.body)
        url = self.first('"url":"[^"]*', entry).split('"')[3]
        return url, self.first('"token":"[^"]*', entry).split(":")[1].strip('"')

    def statuses(self) -> str:
        """Return every status that is in the answer, or the last."""
        found = self.matches('"status":"[^"]*', self.body)
        return " ".join(each.split(":")[1].strip('"') for each in found)

    def waits(self, authorization: str) -> str:
        """Look at an authorization until its text says valid or invalid; it counts to thirty."""
        for _ in range(PATIENCE):
            said = self.statuses()
            for word in ("invalid", "valid"):
                if word in said:
                    return word
            assert "pending" in said or "processing" in said, self.body
            soon_enough(self.header("retry-after"))
            self.send(authorization)
        raise AssertionError("Timeout")

    def finalizes(self, finalize: str, order: str, csr: bytes) -> str:
        """Send the request, look at the order until it is valid, and return the chain's URL."""
        self.send(finalize, {"csr": b64(csr)})
        assert self.code == 200
        for _ in range(PATIENCE):
            if '"status":"valid"' in self.body:
                return self.field("certificate")
            assert '"ready"' in self.body or '"processing"' in self.body, self.body
            soon_enough(self.header("retry-after"))
            self.send(order)
        raise AssertionError("stopped retrying")


def soon_enough(retry_after: str) -> None:
    """Wait as long as the header says, by the arithmetic of a shell; 600 seconds end the run."""
    assert re.fullmatch("[0-9]*", retry_after), retry_after
    assert int(retry_after or 0) <= 600
    time.sleep(0.1)  # a tenth of what it says, so that the test does not take as long as the shell


GREEDY = pytest.mark.parametrize("greedy", [False, True], ids=["grep", "sed"])


@GREEDY
def test_acme_sh_finds_all_it_needs_by_matching_text(lab: Lab, *, greedy: bool) -> None:
    """Pitfalls 11, 18, 19, 27, 31, 32 and 37, RFC 8555 section 7.1."""
    shell = AcmeSh(lab, greedy=greedy)
    shell.register()
    names = ("shell.lab.test", "www.shell.lab.test")
    order = shell.order(*names)
    assert shell.code == 201
    finalize, left = shell.field("finalize"), shell.authorizations()
    assert len(left) == len(names)
    for authorization, name in zip(left, names, strict=True):
        shell.send(authorization)
        assert shell.statuses()
        assert shell.field("value") == name
        url, token = shell.challenge("http-01")
        lab.shown[token] = shell.client.key_authorization(token)
        shell.send(url, {})
        assert shell.code == 200
        assert shell.waits(authorization) == "valid"
    key = p256(5)
    wishes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    csr = a_csr(*names, key=key, subject=cn(names[0]), extensions=[x509.ExtendedKeyUsage(wishes)])
    shell.send(shell.finalizes(finalize, order, csr))
    leaf, *_ = x509.load_pem_x509_certificates(shell.body.encode())
    assert leaf.public_key() == key.public_key()


@GREEDY
def test_acme_sh_renews_by_its_window_and_orders_again_without_replaces(
    lab: Lab, *, greedy: bool
) -> None:
    """Pitfalls 44 and 46, RFC 9773 sections 4.2 and 5: it goes by words in the answer."""
    shell = AcmeSh(lab, greedy=greedy)
    shell.register()
    name = f"renewed-{greedy}.lab.test".lower()
    leaf = x509.load_pem_x509_certificate(shell.client.certificate(name))
    replaces = cert_id_of(leaf)
    start, end = shell.window(replaces)
    assert leaf.not_valid_before_utc < start < end < leaf.not_valid_after_utc
    assert shell.renews(name, replaces) is ("ARI" not in replaces)
    order, finalize = shell.header("location"), shell.field("finalize")
    shell.client.prove(order)
    shell.finalizes(finalize, order, a_csr(name))
    # Its successor is there, and of a certificate of another authority nobody knows here.
    for refused in (replaces, "AAAA.AAAA"):
        assert not shell.renews(name, refused)


@GREEDY
def test_acme_sh_finds_out_that_a_proof_failed_and_why(lab: Lab, *, greedy: bool) -> None:
    """Pitfalls 28 and 31, RFC 8555 section 7.1.4: an authorization that failed lists what failed,
    so that the last status in its text is its own."""
    shell = AcmeSh(lab, greedy=greedy)
    shell.register()
    shell.order("nobody.lab.test")
    (authorization,) = shell.authorizations()
    shell.send(authorization)
    shell.send(shell.challenge("http-01")[0], {})
    assert shell.waits(authorization) == "invalid"
    error = shell.first('"error":[{][^}]*', shell.body)
    assert "404" in shell.first('"detail": *"[^"]*', error)


def test_acme_sh_tries_again_after_a_bad_nonce_because_of_the_words(lab: Lab) -> None:
    """Pitfall 1, RFC 8555 section 6.5."""
    shell = AcmeSh(lab, greedy=False)
    result = shell.client.post(shell.urls["newAccount"], {}, nonce=b64(bytes(40)))
    assert result.status_code == 400
    words = ("JWS has invalid anti-replay nonce", "JWS has an invalid anti-replay nonce")
    assert any(word in result.text for word in words)
    shell.register()
