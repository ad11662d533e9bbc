"""The demo's ACME client: the library under certbot, which knows nothing of this server.

It trusts the CA's root and nobody else, keeps its account key in memory, and answers http-01 on a
port of its own while the server looks.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from threading import Thread
from typing import NoReturn

import requests
from acme import challenges, client, crypto_util, errors, messages, standalone
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509 import verification
from josepy import errors as josepy_errors
from josepy import jwa, jwk

from certeasy import __version__
from certeasy.cli.demo_folder import HOST, DemoFailed

TIMEOUT = timedelta(seconds=30)
"""For each step that waits for the server."""
BETWEEN_LOOKS = 0.1  # seconds

Pause = Callable[[float], bool]
"""Sleep so many seconds; True: somebody wants us to stop."""


class ClientFailed(DemoFailed):
    """The client did not get what it asked for; the message says why, in one line."""


class Interrupted(Exception):
    """We were asked to stop while the client was waiting."""


class DemoClient:
    """One account, on its way to one certificate. Its methods are called in their order.

    Each raises ClientFailed; those that wait for the server raise Interrupted too.
    """

    def __init__(
        self, root_pem: Path, port: int, now: Callable[[], datetime], pause: Pause
    ) -> None:
        """`port` on 127.0.0.1 is where http-01 is answered."""
        self._port = port
        self._now = now
        self._pause = pause
        key = jwk.JWKEC(key=ec.generate_private_key(ec.SECP256R1()))
        self._network = client.ClientNetwork(
            key, alg=jwa.ES256, user_agent=f"certeasy-demo/{__version__}"
        )
        # A file is as good as True to `requests`, to which this is handed on.
        self._network.verify_ssl = str(root_pem)  # type: ignore[assignment]
        # No proxy that the environment names leads to this machine's own loopback.
        self._network.session.trust_env = False

    def close(self) -> None:
        """Close the connection."""
        self._network.session.close()

    def register(self, directory_url: str) -> None:
        """Make an account."""
        with told():
            directory = client.ClientV2.get_directory(directory_url, self._network)
            self._acme = client.ClientV2(directory, self._network)
            self._acme.new_account(messages.NewRegistration(terms_of_service_agreed=True))

    def order(self, name: str) -> None:
        """Make a key and order a certificate for it."""
        key = ec.generate_private_key(ec.SECP256R1())
        self.key_pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        with told():
            self._order = self._acme.new_order(crypto_util.make_csr(self.key_pem, [name]))
            (self._authorization,) = self._order.authorizations

    @property
    def challenge_path(self) -> str:
        """Where the server will look for the answer."""
        path = self._http01().chall.path
        assert isinstance(path, str)
        return path

    def prove(self) -> None:
        """Answer the challenge, and wait until the server has looked."""
        body = self._http01()
        with told(), self._answering(body) as response:
            self._acme.answer_challenge(body, response)
            self._wait_for_authorization()

    def finalize(self) -> bytes:
        """Send the request for the ordered names; return the certificate and its issuers, PEM."""
        with told():
            # The library compares with a clock that knows no time zone.
            deadline = (self._now() + TIMEOUT).astimezone().replace(tzinfo=None)
            order = self._acme.finalize_order(self._order, deadline)
        assert order.fullchain_pem
        return order.fullchain_pem.encode()

    def _http01(self) -> messages.ChallengeBody:
        for body in self._authorization.body.challenges:
            if isinstance(body.chall, challenges.HTTP01):
                return body
        raise ClientFailed("the server does not offer http-01")

    @contextmanager
    def _answering(self, body: messages.ChallengeBody) -> Iterator[challenges.HTTP01Response]:
        """Serve the answer to a challenge; yield what the server is sent to begin."""
        assert self._network.key
        response, text = body.response_and_validation(self._network.key)
        resource = standalone.HTTP01RequestHandler.HTTP01Resource(body.chall, response, text)
        try:
            web = standalone.HTTP01Server((HOST, self._port), {resource})
        except OSError as error:
            _fail(f"http-01 cannot be answered on {HOST}:{self._port}: {error.strerror}")
        with web:
            thread = Thread(
                target=web.serve_forever, kwargs={"poll_interval": 0.05}, name="http-01"
            )
            thread.start()
            try:
                yield response
            finally:
                web.shutdown()
                thread.join()

    def _wait_for_authorization(self) -> None:
        for _ in range(int(TIMEOUT.total_seconds() / BETWEEN_LOOKS)):
            found = self._acme.poll(self._authorization)[0].body
            if found.status == messages.STATUS_VALID:
                return
            if found.status != messages.STATUS_PENDING:
                failed = [one.error for one in found.challenges if one.error]
                _fail(failed[0] if failed else f"the authorization is {found.status}")
            if self._pause(BETWEEN_LOOKS):
                raise Interrupted
        _fail(errors.TimeoutError())


def check(chain_pem: bytes, root_pem: bytes, name: str, now: datetime) -> x509.Certificate:
    """Return the certificate, once it is proven for `name` to who trusts the root alone.

    Raises ClientFailed.
    """
    leaf, *issuers = x509.load_pem_x509_certificates(chain_pem)
    store = verification.Store([x509.load_pem_x509_certificate(root_pem)])
    policy = verification.PolicyBuilder().store(store).time(now)
    try:
        policy.build_server_verifier(x509.DNSName(name)).verify(leaf, issuers)
    except verification.VerificationError as error:
        raise ClientFailed(f"the certificate does not verify under the root: {error}") from None
    return leaf


@contextmanager
def told() -> Iterator[None]:
    """Turn what the library raises into one line."""
    try:
        yield
    except (errors.Error, josepy_errors.Error, requests.RequestException, OSError) as error:
        _fail(error)


def _fail(error: object) -> NoReturn:
    match error:
        case messages.Error(code=code, detail=detail):
            said = f"the server answered {code}: {detail}"
        case errors.TimeoutError():
            said = f"the server was not done within {TIMEOUT.total_seconds():.0f} s"
        case _:
            said = str(error) or type(error).__name__
    raise ClientFailed(" ".join(said.split())) from None
