"""Notices on their way: a web server and a mail server take them, or do not, in every way."""

import hashlib
import hmac
import ssl
import threading
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from certeasy.ids import RandomIds
from certeasy.metrics import Metrics
from certeasy.notices import Sender, a_test
from certeasy.notices.notice import Trouble
from certeasy.notices.post import MOST_WAITING, NotSent, Outbox
from certeasy.notices.smtp import Mail
from certeasy.notices.watching import News
from certeasy.notices.webhook import Webhook
from certeasy.notices.words import WORDS, worded
from certeasy.settings import IpPolicy, NoticesSettings, SmtpSettings, WebhookSettings
from tests.fakes.clocks import HeldClock
from tests.fakes.mail_server import MailServer
from tests.fakes.web_server import WebServer, page, redirect
from tests.make.acme_server import free_port
from tests.make.tls_files import make_server_certificate
from tests.make.waiting import soon

OPEN = IpPolicy()
SENDER = Sender("https://acme.corp.example:8443", "node-1")
NOW = datetime(2026, 11, 2, 9, 0, tzinfo=UTC)
KEY = b"between us"
SOON = timedelta(seconds=20)
AT_ONCE = timedelta(milliseconds=300)


def a_notice(subject="lab", why="it is away", state="begun"):
    return worded(News(state, Trouble("authority-sick", subject, why), NOW), SENDER, "n1", NOW)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    make_server_certificate(folder)
    return folder


@pytest.fixture(scope="module")
def context(files):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files / "tls.pem", files / "tls.key")
    return context


def a_secret(folder: Path, text: bytes, mode: int = 0o600) -> Path:
    path = folder / "secret"
    path.write_bytes(text)
    path.chmod(mode)
    return path


def hook(web: WebServer, *, policy: IpPolicy = OPEN, url: str = "", **settings) -> Webhook:
    url = url or f"http://127.0.0.1:{web.port}/hooks/T0/s3cret?channel=pki"
    return Webhook(WebhookSettings(url=url, **{"timeout": SOON} | settings), policy)


def taking(status: str = "204 No Content"):
    return WebServer(lambda _request: [page(b"", status)])


# ---------------------------------------------------------------- what is told


def test_a_webhook_gets_the_notice_as_json():
    with taking() as web:
        assert hook(web).send(a_notice()) == f"http://127.0.0.1:{web.port} answered 204"
        [request], [body] = web.requests, web.bodies
    assert request.startswith(b"POST /hooks/T0/s3cret?channel=pki HTTP/1.1\r\n")
    assert b"Content-Type: application/json\r\n" in request
    assert msgspec.json.decode(body) == {
        "id": "n1",
        "at": "2026-11-02T09:00:00Z",
        "kind": "authority-sick",
        "subject": "lab",
        "state": "begun",
        "since": "2026-11-02T09:00:00Z",
        "message": "the authority lab cannot be used: it is away",
        "remedy": WORDS["authority-sick"].remedy,
        "server": "https://acme.corp.example:8443",
        "node": "node-1",
        "text": "Certeasy https://acme.corp.example:8443: trouble: the authority lab cannot be used"
        ": it is away",
    }


def test_a_webhook_with_a_secret_knows_who_sent_it(tmp_path):
    with taking() as web:
        hook(web, secret_file=a_secret(tmp_path, KEY + b"\nnot this")).send(a_notice())
        [request], [body] = web.requests, web.bodies
    expected = hmac.new(KEY, body, hashlib.sha256).hexdigest()
    assert f"\r\nCerteasy-Signature: sha256={expected}\r\n".encode() in request
    assert KEY not in request + body


def test_a_mail_says_what_it_is_and_what_is_to_be_done():
    settings = SmtpSettings(
        host="127.0.0.1", sender="certeasy@corp.example", to=("pki@corp.example", "a@b.example"),
        security="none", timeout=SOON,
    )  # fmt: skip
    with MailServer() as server:
        said = Mail(replace(settings, port=server.port), OPEN, SENDER).send(a_notice())
        assert said == f"127.0.0.1 port {server.port} took it"
        [mail] = server.mails
    assert (mail.sender, mail.to) == ("certeasy@corp.example", ["pki@corp.example", "a@b.example"])
    message = mail.message
    assert message["Subject"].startswith("Certeasy https://acme.corp.example:8443: trouble: the")
    assert message["To"] == "pki@corp.example, a@b.example"
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["Message-ID"] == "<n1@acme.corp.example>"
    assert message["Date"] == "Mon, 02 Nov 2026 09:00:00 +0000"
    assert mail.body.startswith("the authority lab cannot be used: it is away\n")
    assert WORDS["authority-sick"].remedy in mail.body.replace("\n", " ")


@pytest.mark.parametrize("kind", WORDS)
@pytest.mark.parametrize("state", ["begun", "more", "continues", "ended", "test"])
def test_each_kind_has_its_words(kind, state):
    notice = worded(News(state, Trouble(kind, "x", "y"), NOW), SENDER, "n", NOW)
    assert "{" not in notice.text
    assert notice.remedy
    assert ("since" in notice.message) == (state in {"continues", "more"})


def test_what_others_have_said_cannot_write_headers_or_lines():
    notice = a_notice(
        subject="lab\r\nBcc: all@corp.example", why="no\x1b[2J\nRCPT TO:<x>\x00é" * 400
    )
    assert len(notice.message) < 2200
    settings = SmtpSettings(
        host="127.0.0.1", sender="c@corp.example", to=("p@corp.example",), security="none"
    )
    with MailServer() as server, taking() as web:
        Mail(replace(settings, port=server.port), OPEN, SENDER).send(notice)
        hook(web).send(notice)
        [mail] = server.mails
    assert mail.message["Bcc"] is None
    assert (mail.to, [c for c in server.commands if c == "RCPT"]) == (["p@corp.example"], ["RCPT"])
    assert "é" in mail.body
    assert b"\x1b" not in web.bodies[0]


# ---------------------------------------------------------------- what is not sent


@pytest.mark.parametrize(
    ("status", "again"),
    [
        ("302 Found", False),
        ("400 Bad Request", False),
        ("403 Forbidden", False),
        ("429 Too Many Requests", True),
        ("500 Internal Server Error", True),
        ("503 Service Unavailable", True),
    ],
)
def test_a_webhook_that_does_not_take_it_is_told_by_host_alone(status, again):
    with taking(status) as web, pytest.raises(NotSent) as caught:
        hook(web).send(a_notice())
    assert str(caught.value) == f"http://127.0.0.1:{web.port} answered {status[:3]}"
    assert caught.value.again == again


def test_a_redirect_is_not_followed():
    with taking() as other:
        away = redirect(f"http://127.0.0.1:{other.port}/")
        with WebServer(lambda _request: [away]) as web, pytest.raises(NotSent, match="302"):
            hook(web).send(a_notice())
        assert other.requests == []


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ([], "closed the connection without an answer"),
        ([b"HTTP/1.1 200 OK\r\n", 30.0], "did not finish its answer in time"),
        ([b"220 mail.lab.test ESMTP\r\n"], "does not answer in HTTP/1.1"),
        ([page(b"x" * (1 << 20) + b"y")], "sent an answer of more than"),
    ],
)
def test_a_webhook_that_answers_nonsense_or_nothing_is_told(answer, told):
    with WebServer(lambda _request: answer) as web, pytest.raises(NotSent, match=told) as caught:
        hook(web, timeout=AT_ONCE if 30.0 in answer else SOON).send(a_notice())
    assert "s3cret" not in str(caught.value)


def test_a_webhook_without_a_server_is_told():
    url = f"http://127.0.0.1:{free_port()}/"
    with pytest.raises(NotSent, match="Connection refused"):
        Webhook(WebhookSettings(url=url), OPEN).send(a_notice())


def test_an_https_webhook_is_believed_by_its_certificate_alone(files, context):
    with WebServer(lambda _request: [page(b"")], tls=context) as web:
        url = f"https://127.0.0.1:{web.port}/"
        assert hook(web, url=url, ca_file=files / "root.pem").send(a_notice())
        with pytest.raises(NotSent, match="its certificate is not believed"):
            hook(web, url=url).send(a_notice())
        named = f"https://localhost:{web.port}/"
        with pytest.raises(NotSent, match="its certificate is not believed: Hostname mismatch"):
            hook(web, url=named, ca_file=files / "root.pem").send(a_notice())
        assert len(web.bodies) == 1


def test_a_server_that_speaks_no_tls_is_told():
    with MailServer() as other, pytest.raises(NotSent, match="TLS was not set up"):
        hook(other, url=f"https://127.0.0.1:{other.port}/").send(a_notice())


@pytest.mark.parametrize("content", [None, b"no certificates"])
def test_a_file_of_roots_that_is_none_is_told(tmp_path, content):
    roots = tmp_path / "roots.pem"
    if content is not None:
        roots.write_bytes(content)
    with taking() as web, pytest.raises(NotSent, match=r"ca-file .*roots.pem cannot be used"):
        hook(web, url=f"https://127.0.0.1:{web.port}/", ca_file=roots).send(a_notice())


@pytest.mark.parametrize(
    ("content", "mode", "told"),
    [
        (b"", 0o600, "has nothing in its first line"),
        (b"\nkey", 0o600, "has nothing in its first line"),
        (b"key", 0o644, "has mode 0644"),
    ],
)
def test_a_secret_that_is_none_is_told_and_nothing_is_sent(tmp_path, content, mode, told):
    with taking() as web:
        with pytest.raises(NotSent, match=told):
            hook(web, secret_file=a_secret(tmp_path, content, mode)).send(a_notice())
        assert web.requests == []


# ---------------------------------------------------------------- where it may go


def test_a_name_does_not_lead_to_this_machine_unless_it_is_opened(monkeypatch):
    """`localhost` and an address are the operator's own word; any other name is the DNS's."""
    monkeypatch.setattr(
        "certeasy.outward.socket.getaddrinfo", lambda *_, **__: [(0, 0, 0, "", ("127.0.0.1", 0))]
    )
    opened = IpPolicy(allow_cidrs=(ip_network("127.0.0.0/8"),))
    closed = IpPolicy(deny_cidrs=(ip_network("127.0.0.0/8"),))
    with taking() as web:
        named = f"http://hooks.corp.example:{web.port}/"
        with pytest.raises(NotSent, match=r"leads to 127.0.0.1, which is loopback"):
            hook(web, url=named).send(a_notice())
        assert hook(web, url=named, policy=opened).send(a_notice())
        assert hook(web, url=f"http://localhost:{web.port}/").send(a_notice())
        with pytest.raises(NotSent, match="is in the deny-cidr"):
            hook(web, policy=closed).send(a_notice())
        assert len(web.requests) == 2


def test_a_name_that_leads_nowhere_is_told():
    with pytest.raises(NotSent, match="could not be resolved"):
        Webhook(WebhookSettings(url="http://no..name/"), OPEN).send(a_notice())


# ---------------------------------------------------------------- mail servers


def mail(port: int, **settings) -> Mail:
    given = {"security": "none", "timeout": SOON} | settings
    chosen = SmtpSettings(
        host="127.0.0.1", sender="c@corp.example", to=("p@corp.example",), port=port, **given
    )
    return Mail(chosen, OPEN, SENDER)


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_password_is_shown_under_tls_to_who_is_believed(tmp_path, files, context, security):
    secret = a_secret(tmp_path, b"geheim\r\n")
    trusting = {"ca_file": files / "root.pem", "user": "c", "password_file": secret}
    login = ("c", "geheim")
    with MailServer(tls=context, at_once=security == "tls", login=login) as server:
        assert mail(server.port, security=security, **trusting).send(a_notice())
        [kept] = server.mails
        assert (kept.secured, kept.user) == (True, "c")
        with pytest.raises(NotSent, match="its certificate is not believed"):
            mail(server.port, security=security, **trusting | {"ca_file": None}).send(a_notice())
        assert len(server.mails) == 1
        assert [word for word in server.commands if word == "AUTH"] == ["AUTH"]


def test_without_starttls_nothing_is_sent(tmp_path):
    """A man in the middle takes the offer away."""
    secret = a_secret(tmp_path, b"geheim")
    with MailServer(login=("c", "geheim")) as server:
        sending = mail(server.port, security="starttls", user="c", password_file=secret)
        with pytest.raises(NotSent, match="STARTTLS extension not supported"):
            sending.send(a_notice())
        assert not {"AUTH", "MAIL"} & set(server.commands)


def test_a_password_that_cannot_be_sent_is_told_without_it(tmp_path):
    secret = a_secret(tmp_path, "geheim-\u00e9".encode())
    with (
        MailServer(login=("c", "x")) as server,
        pytest.raises(NotSent, match="other characters than ASCII") as caught,
    ):
        mail(server.port, user="c", password_file=secret).send(a_notice())
    assert "geheim" not in str(caught.value)


def test_a_wrong_password_is_told_without_it(tmp_path, files, context):
    secret = a_secret(tmp_path, b"not-the-password")
    with MailServer(tls=context, login=("c", "x")) as server:
        sending = mail(
            server.port, security="starttls", ca_file=files / "root.pem", user="c",
            password_file=secret,
        )  # fmt: skip
        with pytest.raises(NotSent, match="says 535 that is not the password") as caught:
            sending.send(a_notice())
    assert not caught.value.again
    assert "not-the-password" not in str(caught.value)


@pytest.mark.parametrize(
    ("says", "told", "again"),
    [
        ({"": "554 no"}, "says 554 no", False),
        ({"MAIL": "550 not you"}, "says 550 not you", False),
        ({"RCPT": "550 no such user"}, "takes no recipient: 550 no such user", True),
        ({"DATA": "451 later"}, "says 451 later", True),
        ({".": "552 too much"}, "says 552 too much", False),
        ({".": "450 later\x1b[2J"}, r"says 450 later \[2J", True),
    ],
)
def test_a_mail_server_that_does_not_take_it_is_told_in_its_words(says, told, again):
    with MailServer(says=says) as server, pytest.raises(NotSent, match=told) as caught:
        mail(server.port).send(a_notice())
    assert caught.value.again == again
    assert "\x1b" not in str(caught.value)


def test_a_recipient_who_is_unknown_costs_the_others_nothing():
    with MailServer(unknown=("gone@corp.example",)) as server:
        chosen = SmtpSettings(
            host="127.0.0.1", sender="c@corp.example", port=server.port, security="none",
            to=("gone@corp.example", "p@corp.example"),
        )  # fmt: skip
        said = Mail(chosen, OPEN, SENDER).send(a_notice())
        assert said.endswith("took it, but not for gone@corp.example")
        assert server.mails[0].to == ["p@corp.example"]


def test_a_mail_server_that_breaks_off_is_told():
    with WebServer(lambda _request: []) as rude:
        rude._talk = lambda connection: connection.sendall(b"220 hello\r\n")
        with pytest.raises(NotSent, match=r"127\.0\.0\.1 port") as caught:
            mail(rude.port).send(a_notice())
    assert caught.value.again


@pytest.mark.parametrize("command", ["", "EHLO", "DATA"])
def test_a_mail_server_that_says_nothing_is_left(command):
    with (
        MailServer(says={command: ""}) as server,
        pytest.raises(NotSent, match="did not come to an end in time"),
    ):
        mail(server.port, timeout=AT_ONCE).send(a_notice())


def test_a_mail_server_that_never_comes_to_an_end_is_cut_off():
    """Each line comes in time, and there is always another."""
    stop = threading.Event()

    def endless(_request):
        while not stop.wait(0.02):
            yield b"220-and another thing\r\n"

    with WebServer(endless) as drip:
        # It begins to talk once it has heard an end of header.
        drip._talk = lambda connection: [connection.sendall(line) for line in endless(b"")]
        try:
            with pytest.raises(NotSent, match="did not come to an end in time"):
                mail(drip.port, timeout=AT_ONCE).send(a_notice())
        finally:
            stop.set()


def test_a_mail_server_that_says_too_much_is_left():
    """At full speed, long before the deadline."""
    long = "\r\n".join(["250-and another thing" * 50] * 300)
    with (
        MailServer(says={"EHLO": long}) as server,
        pytest.raises(NotSent, match="it says more than 262144 bytes"),
    ):
        mail(server.port).send(a_notice())


def test_a_mail_that_was_taken_is_not_sent_again_for_a_rude_goodbye():
    with MailServer(says={"QUIT": "500 what?"}) as server:
        assert mail(server.port).send(a_notice())


# ---------------------------------------------------------------- an outbox


class Slow:
    """A channel that fails as often as it is told, and stands still while it is held."""

    name = "webhook"

    def __init__(self, *faults):
        self.faults = list(faults)
        self.sent = []
        self.go_on = threading.Event()
        self.go_on.set()
        self.begun = threading.Event()

    def send(self, notice):
        self.begun.set()
        self.go_on.wait()
        if self.faults:
            raise self.faults.pop(0)
        self.sent.append(notice)
        return "taken"


def counted(metrics: Metrics, outcome: str) -> float:
    return (
        metrics.registry.get_sample_value(
            "certeasy_notices_total", {"channel": "webhook", "outcome": outcome}
        )
        or 0.0
    )


def test_what_could_not_be_sent_is_tried_again(caplog):
    channel, metrics = Slow(NotSent("busy"), NotSent("busy")), Metrics()
    outbox = Outbox(channel, metrics.notices, (0.0, 0.0))
    outbox.put(a_notice())
    soon(lambda: counted(metrics, "sent"))
    outbox.close(10)
    assert channel.sent == [a_notice()]
    assert caplog.text.count("a notice is not sent yet: busy") == 2


@pytest.mark.parametrize(
    "faults",
    [
        [NotSent("busy")] * 3,
        [NotSent("gone", again=False)],
        [RuntimeError("of a kind that nobody thought of")],
    ],
)
def test_what_cannot_be_sent_is_given_up_and_the_next_one_is_sent(caplog, faults):
    channel, metrics = Slow(*faults), Metrics()
    outbox = Outbox(channel, metrics.notices, (0.0, 0.0))
    outbox.put(a_notice("first"))
    outbox.put(a_notice("second"))
    soon(lambda: counted(metrics, "sent"))
    outbox.close(10)
    assert [each.subject for each in channel.sent] == ["second"]
    assert counted(metrics, "failed") == 1
    assert "a notice is not sent" in caplog.text


def test_nobody_waits_for_a_channel_that_hangs(caplog):
    channel, metrics = Slow(), Metrics()
    channel.go_on.clear()
    outbox = Outbox(channel, metrics.notices)
    outbox.put(a_notice("0"))
    assert channel.begun.wait(10)
    for number in range(1, MOST_WAITING + 4):
        outbox.put(a_notice(str(number)))
    assert counted(metrics, "dropped") == 3
    assert "too many notices wait" in caplog.text
    outbox.close(0.0)
    channel.go_on.set()
    outbox._thread.join(10)
    assert not outbox._thread.is_alive()
    assert [each.subject for each in channel.sent] == ["0"]


def test_an_outbox_that_rests_is_closed_at_once():
    channel, metrics = Slow(NotSent("busy")), Metrics()
    outbox = Outbox(channel, metrics.notices, (3600.0,))
    outbox.put(a_notice())
    assert channel.begun.wait(10)
    outbox.close(10)
    assert not outbox._thread.is_alive()
    assert channel.sent == []


def test_a_test_says_that_it_is_one():
    clock = HeldClock()
    notice = a_test(SENDER, RandomIds(clock), clock.now())
    assert (notice.kind, notice.state) == ("test", "test")
    assert notice.text.endswith(": test: this is a test: notices arrive")
    assert NoticesSettings().webhook is None
