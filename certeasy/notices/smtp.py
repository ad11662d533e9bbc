"""Notices by mail: each is handed to one mail server, for all recipients.

`security: starttls` and `tls` are kept to: where the server does not offer TLS, or shows a
certificate that is not believed, nothing is sent, no password either.
"""

import re
import smtplib
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import IO, Any
from urllib.parse import urlsplit

from certeasy.notices.notice import Notice, Sender
from certeasy.notices.post import NotSent
from certeasy.outward import Deadline, Outward, Unreached
from certeasy.outward.secret_files import NoSecret, first_line
from certeasy.settings import IpPolicy, SmtpSettings

PORTS = {"starttls": 587, "tls": 465, "none": 25}
PERMANENT = 500
SHOWN = 200
"""Characters of what a server says that are told."""
LONGEST_SUBJECT = 150
MOST_SAID = 1 << 18
"""Bytes that a mail server may say in a session."""
CONTROLS = re.compile(r"[^\x20-\x7e]+")


class Mail:
    """A mail server that takes notices."""

    name = "smtp"

    def __init__(self, settings: SmtpSettings, policy: IpPolicy, sender: Sender) -> None:
        self._settings = settings
        self._way = Outward(policy, settings.timeout, settings.ca_file)
        self._host = urlsplit(sender.url).hostname or "localhost"

    def send(self, notice: Notice) -> str:
        """Hand a notice to the mail server; return what came of it. Raises NotSent."""
        settings = self._settings
        where = f"{settings.host} port {self._port}"
        deadline = self._way.deadline()
        try:
            with self._connected(deadline) as client:
                refused = self._deliver(client, self._message(notice))
        except (NoSecret, Unreached) as error:
            raise NotSent(str(error)) from None
        except smtplib.SMTPRecipientsRefused as error:
            code, said = max(error.recipients.values())
            raise NotSent(f"{where} takes no recipient: {_said(code, said)}") from None
        except smtplib.SMTPResponseException as error:
            told = f"{where} says {_said(error.smtp_code, error.smtp_error)}"
            raise NotSent(told, again=error.smtp_code < PERMANENT) from None
        except (smtplib.SMTPException, OSError, ValueError) as error:
            raise NotSent(f"{where}: {_fault(error, deadline)}") from None
        if refused:
            return f"{where} took it, but not for {', '.join(sorted(refused))}"
        return f"{where} took it"

    @property
    def _port(self) -> int:
        return self._settings.port or PORTS[self._settings.security]

    @contextmanager
    def _connected(self, deadline: Deadline) -> Iterator[smtplib.SMTP]:
        """Yield a session, under TLS where that is asked for; it is cut at the deadline."""
        settings = self._settings
        connection = self._way.connect(settings.host, self._port, deadline)
        with connection, _cut_at(deadline, connection):
            if settings.security == "tls":
                connection = self._way.secured(connection, settings.host, deadline)
            helo = f"[{self._host}]" if self._host.replace(".", "").isdigit() else self._host
            client = _Session(connection, helo)
            try:
                client.begin(settings.host, self._port)
                if settings.security == "starttls":
                    client.starttls(context=self._way.context())
                yield client
                # What was taken is taken, whatever is said at the end.
                with suppress(smtplib.SMTPException, OSError):
                    client.quit()
            finally:
                client.close()

    def _deliver(self, client: smtplib.SMTP, message: EmailMessage) -> dict[str, Any]:
        """Log in where that is asked for, and hand the message over."""
        settings = self._settings
        if settings.user is not None and settings.password_file is not None:
            password = first_line(settings.password_file, "password-file")
            if not password.isascii():
                raise NoSecret(
                    f"password-file {settings.password_file} has other characters than ASCII,"
                    " which few mail servers understand; choose another password"
                )
            client.login(settings.user, password.decode("ascii"))
        refused: dict[str, Any] = client.send_message(message, settings.sender, list(settings.to))
        return refused

    def _message(self, notice: Notice) -> EmailMessage:
        message = EmailMessage(policy=SMTP)
        message["From"] = self._settings.sender
        message["To"] = ", ".join(self._settings.to)
        subject = notice.text
        if len(subject) > LONGEST_SUBJECT:
            subject = subject[:LONGEST_SUBJECT] + "..."
        message["Subject"] = subject
        message["Date"] = format_datetime(datetime.fromisoformat(notice.at))
        message["Message-ID"] = f"<{notice.id}@{self._host}>"
        message["Auto-Submitted"] = "auto-generated"
        message["X-Certeasy-Notice"] = f"{notice.kind}; {notice.state}"
        message.set_content(
            f"{notice.message}\n\n{notice.remedy}\n\n"
            f"kind: {notice.kind}\nsubject: {notice.subject or '-'}\nstate: {notice.state}\n"
            f"since: {notice.since}\nserver: {notice.server}\nnode: {notice.node or '-'}\n"
        )
        return message


class _Session(smtplib.SMTP):
    """A session over a connection that is there already."""

    def __init__(self, connection: socket.socket, helo: str) -> None:
        super().__init__(local_hostname=helo)
        self._given = connection

    def begin(self, host: str, port: int) -> None:
        """Hear the server's greeting, and answer it. Raises what smtplib does."""
        self._host = host  # whose certificate starttls asks for
        code, said = self.connect(host, port)
        if code != 220:  # noqa: PLR2004 - RFC 5321 section 4.2
            raise smtplib.SMTPConnectError(code, said)
        self.ehlo_or_helo_if_needed()

    def getreply(self) -> tuple[int, bytes]:
        """Hear an answer, which the standard library takes for as long as another line comes."""
        if self.file is None:
            self.file = _Bounded(self._given_file())
        return super().getreply()

    def _given_file(self) -> IO[bytes]:
        assert self.sock is not None
        return self.sock.makefile("rb")

    def _get_socket(self, _host: str, _port: int, _timeout: float) -> socket.socket:
        return self._given

    def close(self) -> None:
        """Close the connection, also one over which no session ever was."""
        super().close()
        self._given.close()


class _Bounded:
    """What a mail server says, until it has said too much."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._left = MOST_SAID

    def readline(self, size: int) -> bytes:
        """Return the next line, or so much of it. Raises OSError where it is one too many."""
        line = self._file.readline(size)
        self._left -= len(line)
        if self._left < 0:
            raise OSError(f"it says more than {MOST_SAID} bytes")
        return line

    def close(self) -> None:
        """Close the file."""
        self._file.close()


@contextmanager
def _cut_at(deadline: Deadline, connection: socket.socket) -> Iterator[None]:
    """End the connection at the deadline, whatever is said over it by then, byte by byte."""
    with connection.dup() as same:

        def cut() -> None:
            with suppress(OSError):
                same.shutdown(socket.SHUT_RDWR)

        timer = threading.Timer(deadline.left(), cut)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()


def _fault(error: Exception, deadline: Deadline) -> str:
    """Return what went wrong, in a few words."""
    try:
        deadline.left()
    except TimeoutError:
        return "it did not come to an end in time"
    if isinstance(error, TimeoutError):
        return "it did not come to an end in time"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not believed: {error.verify_message}"
    return CONTROLS.sub(" ", str(error))[:SHOWN] or type(error).__name__


def _said(code: int, text: bytes | str) -> str:
    words = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    return f"{code} {CONTROLS.sub(' ', words)[:SHOWN]}".strip()
