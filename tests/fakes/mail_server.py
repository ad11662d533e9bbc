"""A small mail server on loopback: it keeps what it is given, or refuses it as a test says.

    with MailServer(tls=context, login=("certeasy", "secret")) as server:
        ...  # server.port, server.mails

RFC 5321 as far as a sender needs it, STARTTLS (RFC 3207) where there is a context, AUTH PLAIN
(RFC 4954) where there is somebody to log in.
"""

import base64
import email
import email.policy
import socket
import ssl
import threading
from email.message import EmailMessage
from typing import IO, Self

from tests.fakes.tcp_server import TcpServer


class Mail:
    """One message: from whom, to whom, and what it says; whether it came under TLS, by whom."""

    def __init__(
        self, sender: str, to: list[str], data: bytes, user: str, *, secured: bool
    ) -> None:
        self.sender = sender
        self.to = to
        self.message: EmailMessage = email.message_from_bytes(data, policy=email.policy.default)
        self.user = user
        self.secured = secured

    @property
    def body(self) -> str:
        return str(self.message.get_content()).replace("\r\n", "\n")


class MailServer(TcpServer):
    """Takes mail on each connection between `with` and its end."""

    def __init__(
        self,
        *,
        tls: ssl.SSLContext | None = None,
        at_once: bool = False,
        login: tuple[str, str] | None = None,
        says: dict[str, str] | None = None,
        unknown: tuple[str, ...] = (),
    ) -> None:
        """`at_once`: TLS from the first byte. `says`: other answers, by command ("RCPT", or "." for
        a message that has ended; "" for the greeting); an empty one is never given. `unknown` are
        no recipients."""
        super().__init__("mail")
        self._tls = tls
        self._at_once = at_once
        self._login = login
        self._says = says or {}
        self._unknown = unknown
        self.mails: list[Mail] = []
        self.commands: list[str] = []
        self.arrived = threading.Condition()

    def serve(self, connection: socket.socket) -> None:
        if self._tls is not None and self._at_once:
            with self.secured(connection, self._tls) as secured, _Session(self, secured) as session:
                session.secured = True
                session.run()
            return
        with _Session(self, connection) as session:
            if session.run() != "STARTTLS":
                return
        assert self._tls is not None
        with self.secured(connection, self._tls) as secured, _Session(self, secured) as session:
            session.secured = True
            session.talk()


class _Session:
    def __init__(self, server: MailServer, connection: socket.socket) -> None:
        self._server = server
        self._connection = connection
        self._file: IO[bytes] = connection.makefile("rb")
        self.secured = False
        self._user = ""
        self._sender = ""
        self._to: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def run(self) -> str:
        """Greet, and talk; return the command that ended it."""
        self._say(self._server._says.get("", "220 mail.lab.test"))
        return self.talk()

    def talk(self) -> str:
        while line := self._file.readline().decode("latin-1").rstrip("\r\n"):
            word, _, rest = line.partition(" ")
            self._server.commands.append(word.upper())
            answer = self._server._says.get(word.upper())
            if answer is not None:
                self._say(answer)
                continue
            self._say(self._answer(word.upper(), rest))
            if word.upper() in {"QUIT", "STARTTLS"}:
                return word.upper()
        return ""

    def _say(self, answer: str) -> None:
        if answer:
            self._connection.sendall(answer.encode() + b"\r\n")
        else:
            self._server.closing.wait(10)

    def _answer(self, word: str, rest: str) -> str:
        match word:
            case "EHLO":
                return "\r\n".join(["250-mail.lab.test", *self._offered(), "250 8BITMIME"])
            case "AUTH":
                return self._auth(rest)
            case "DATA":
                return self._data()
            case "MAIL":
                self._sender, self._to = _address(rest), []
            case "RCPT" if _address(rest) in self._server._unknown:
                return "550 nobody here is called so"
            case "RCPT":
                self._to.append(_address(rest))
        return {"STARTTLS": "220 go on", "QUIT": "221 bye"}.get(word, "250 ok")

    def _offered(self) -> list[str]:
        server = self._server
        starttls = server._tls is not None and not self.secured
        login = server._login is not None and (self.secured or server._tls is None)
        return ["250-STARTTLS"] * starttls + ["250-AUTH PLAIN"] * login

    def _auth(self, rest: str) -> str:
        _, _, proof = rest.partition(" ")
        _, user, password = base64.b64decode(proof).decode().split("\0")
        if (user, password) != self._server._login:
            return "535 that is not the password"
        self._user = user
        return "235 ok"

    def _data(self) -> str:
        self._connection.sendall(b"354 go on\r\n")
        lines = []
        while (line := self._file.readline()) not in {b".\r\n", b""}:
            lines.append(line.removeprefix(b".") if line.startswith(b"..") else line)
        refused = self._server._says.get(".")
        if refused:
            return refused
        mail = Mail(self._sender, self._to, b"".join(lines), self._user, secured=self.secured)
        with self._server.arrived:
            self._server.mails.append(mail)
            self._server.arrived.notify_all()
        return "250 kept"


def _address(rest: str) -> str:
    return rest.partition("<")[2].partition(">")[0]
