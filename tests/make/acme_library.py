"""The `acme` library, which certbot is built on, as a client that a test can steer."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

import josepy
import pytest
from acme import challenges, client, crypto_util, messages, standalone
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tests.make.acme_server import AcmeServer

Key = josepy.JWKEC | josepy.JWKRSA
KEYS = {
    "ES256": lambda: (josepy.JWKEC(key=ec.generate_private_key(ec.SECP256R1())), josepy.ES256),
    "ES384": lambda: (josepy.JWKEC(key=ec.generate_private_key(ec.SECP384R1())), josepy.ES384),
    "RS256": lambda: (josepy.JWKRSA(key=rsa.generate_private_key(65537, 2048)), josepy.RS256),
}


def connect(
    server: AcmeServer, monkeypatch: pytest.MonkeyPatch, kind: str = "ES256"
) -> client.ClientV2:
    """Return a client with a key of its own and no account yet."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(server.root_pem))
    key, algorithm = KEYS[kind]()
    network = client.ClientNetwork(key, alg=algorithm, user_agent="certeasy-tests")
    directory = client.ClientV2.get_directory(server.directory_url, network)
    return client.ClientV2(directory, network)


def register(acme: client.ClientV2) -> messages.RegistrationResource:
    return acme.new_account(
        messages.NewRegistration.from_data(email="admin@corp.example", terms_of_service_agreed=True)
    )


@contextmanager
def answering(acme: client.ClientV2, order: messages.OrderResource, port: int) -> Iterator[None]:
    """Serve the responses to the order's http-01 challenges, and say that they are up."""
    bodies = [challenge for part in order.authorizations for challenge in part.body.challenges]
    http01 = [body for body in bodies if isinstance(body.chall, challenges.HTTP01)]
    pairs = [(body, *body.response_and_validation(acme.net.key)) for body in http01]
    resource = standalone.HTTP01RequestHandler.HTTP01Resource
    resources = {resource(body.chall, response, text) for body, response, text in pairs}
    web = standalone.HTTP01DualNetworkedServers(("127.0.0.1", port), resources)
    web.serve_forever()
    try:
        for body, response, _ in pairs:
            acme.answer_challenge(body, response)
        yield
    finally:
        web.shutdown_and_server_close()


def key_and_csr(*names: str) -> tuple[bytes, bytes]:
    key = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return key, crypto_util.make_csr(key, list(names))


def obtain(
    acme: client.ClientV2, server: AcmeServer, *names: str
) -> tuple[messages.OrderResource, bytes]:
    """Order, prove, finalize, download; return the order and the certificate's key."""
    key, csr = key_and_csr(*names)
    order = acme.new_order(csr)
    with answering(acme, order, server.http01_port):
        deadline = datetime.now() + timedelta(seconds=30)  # noqa: DTZ005, TID251 - as the library wants it
        return acme.poll_and_finalize(order, deadline), key
