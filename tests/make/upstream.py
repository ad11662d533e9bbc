"""An ACME server in this process for the server's own certificate: a second Certeasy, with TLS.

    with an_upstream(tmp_path) as upstream:
        ...  # upstream.directory, upstream.root, upstream.http_addr, upstream.server

It resolves every name below lab.test to 127.0.0.1, and looks for http-01 at `http_addr`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from msgspec.structs import replace

from certeasy.app import Application
from certeasy.clock import Clock
from certeasy.serve.contexts import Certificates, TlsMaterial
from certeasy.serve.limits import Limits
from certeasy.serve.listener import Listener, start
from certeasy.settings import Settings
from tests.make.acme_server import free_port
from tests.make.server import a_server, lab_settings
from tests.make.tls_files import make_server_certificate


@dataclass
class Upstream:
    """The server that is asked."""

    server: Application
    directory: str
    root: Path
    """Roots that vouch for its listener."""
    http_addr: str
    """Where it looks for proofs."""
    listener: Listener
    requests: list[tuple[str, str]]
    """Method and path of each request."""
    instead: list[tuple[str, Callable]]
    """WSGI applications that answer instead, each of them once: the next request whose path has
    that in it."""

    def asked(self, part: str) -> int:
        """Return how many requests there were whose path has that in it."""
        return sum(part in path for _, path in self.requests)


def saying(status: str, body: bytes = b"", *headers: tuple[str, str]) -> Callable:
    """Return an application that always says the same."""

    def answer(_environ, start_response):
        start_response(status, [("Content-Length", str(len(body))), *headers])
        return [body]

    return answer


@contextmanager
def an_upstream(
    folder: Path,
    *,
    clock: Clock | None = None,
    change: Callable[[Settings], Settings] = lambda settings: settings,
    **server: object,
) -> Iterator[Upstream]:
    """Run it until the end of the block; `server` are settings of that section."""
    folder.mkdir(exist_ok=True)
    root = make_server_certificate(folder)
    port, http_port = free_port(), free_port()
    settings = lab_settings(folder / "work", http_port=http_port)
    given = {"url": (f"https://127.0.0.1:{port}",), "finalize_wait": timedelta(seconds=1)}
    section = replace(settings.server, **given | server)
    settings = change(replace(settings, server=section))
    material = TlsMaterial(
        (folder / "tls.pem").read_bytes(), (folder / "tls.key").read_bytes(), ("127.0.0.1",)
    )
    settings.workdir.mkdir()
    requests: list[tuple[str, str]] = []
    instead: list[tuple[str, Callable]] = []
    with a_server(settings.workdir, clock=clock, settings=settings) as application:

        def answer(environ, start_response):
            path = environ["PATH_INFO"]
            requests.append((environ["REQUEST_METHOD"], path))
            for each in instead:
                if each[0] in path:
                    instead.remove(each)
                    return each[1](environ, start_response)
            return application.answer(environ, start_response)

        limits = Limits(threads=8)
        with start(answer, f"127.0.0.1:{port}", limits, Certificates([material])) as listener:
            yield Upstream(
                application,
                f"https://127.0.0.1:{port}/acme/directory",
                root,
                f"127.0.0.1:{http_port}",
                listener,
                requests,
                instead,
            )
