"""What a whole server tells people of, and that nobody waits for it."""

from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from certeasy import config
from certeasy.app import Application
from certeasy.cli.notices import notices
from certeasy.settings import (
    AuditSettings,
    NoticesSettings,
    RenewalInfoSettings,
    SmtpSettings,
    TlsBundle,
    TlsSettings,
    WebhookSettings,
)
from certeasy.store import DatabaseUnavailable
from tests.fakes.authorities import TroubledAuthority
from tests.fakes.clocks import MovedClock
from tests.fakes.faults import database_error
from tests.fakes.mail_server import MailServer
from tests.fakes.web_server import WebServer, page
from tests.make.configs import a_config
from tests.make.lab import a_lab
from tests.make.server import a_server, lab_settings
from tests.make.tls_files import make_server_certificate
from tests.make.waiting import soon

ROOM = AuditSettings(min_free_bytes=1 << 16, low_free_bytes=1 << 16)
AFTER = 120
HOUR, DAY = 3600, 86400


class People:
    """Who is told: what has arrived."""

    def __init__(self, lab, web, clock):
        self.lab = lab
        self.server = lab.server
        self.web = web
        self.clock = clock
        self.expected = 0

    def look(self, later=0):
        """Have the server look around, `later` than before."""
        self.clock.pass_by(later)
        self.server._notices.look()

    def told(self, number):
        """Wait until so many more notices have arrived, and return them."""
        self.expected += number
        soon(lambda: len(self.web.requests) >= self.expected)
        assert len(self.web.requests) == self.expected
        return [msgspec.json.decode(body) for body in self.web.bodies[self.expected - number :]]

    def begins(self):
        """Have something that is wrong go on until it is told; return what is told."""
        self.look()
        self.look(later=AFTER)
        [notice] = self.told(1)
        return notice

    def ends(self):
        """Have something that is over stay so until it is told."""
        self.look(later=AFTER)
        [notice] = self.told(1)
        return notice


def telling(web, **more):
    webhook = WebhookSettings(url=f"http://127.0.0.1:{web.port}/hook")
    return NoticesSettings(webhook=webhook, **more)


@contextmanager
def some_people(folder, **sections):
    clock = MovedClock()
    with WebServer(lambda _request: [page(b"")]) as web:
        chosen = {"audit": ROOM, "notices": telling(web)} | sections
        with a_lab(folder, clock=clock, sections=chosen) as lab:
            yield People(lab, web, clock)


def test_a_ca_that_is_away_is_told_once_and_that_it_is_back(tmp_path):
    with some_people(tmp_path) as people:
        server = people.server
        ca = TroubledAuthority(server.authorities["lab-ca"])
        server.authorities["lab-ca"] = ca
        ca.sick = "the RPC server is unavailable"
        people.clock.pass_by(HOUR)
        server.health.look("lab-ca")
        notice = people.begins()
        assert (notice["kind"], notice["subject"], notice["state"]) == (
            "authority-sick",
            "lab-ca",
            "begun",
        )
        assert "the RPC server is unavailable" in notice["message"]
        assert notice["node"] == server.node.identity.server_id
        assert "adcs check" in notice["remedy"]
        for _ in range(5):
            people.look(later=HOUR)
        ca.sick = ""
        server.health.look("lab-ca")
        notice = people.ends()
        assert (notice["kind"], notice["state"]) == ("authority-sick", "ended")
        assert notice["message"] == "the authority lab-ca can be used again"


def test_a_disk_that_fills_up_and_one_without_room_are_told(tmp_path, monkeypatch):
    with some_people(tmp_path) as people:
        disk = people.server.node.journal.disk
        with monkeypatch.context() as patch:
            patch.setattr(disk, "free", lambda _path: 1000)
            people.look()
            people.look(later=AFTER)
            kinds = {notice["kind"] for notice in people.told(2)}
            assert kinds == {"journal-stopped", "journal-disk-low"}
        people.look(later=AFTER)
        assert {notice["state"] for notice in people.told(2)} == {"ended"}


def test_a_database_that_is_gone_is_told_while_it_is_gone(tmp_path, monkeypatch):
    with some_people(tmp_path) as people:

        def broken(*_given):
            raise database_error()

        with monkeypatch.context() as patch:
            patch.setattr("certeasy.store.store.ask", broken)
            notice = people.begins()
            assert notice["kind"] == "database-gone"
            assert "the database is out of service" in notice["message"]
        assert people.ends()["message"] == "the database can be used again"


def test_a_start_that_waits_for_its_database_is_told(tmp_path, monkeypatch):
    """Nobody is served, and nobody would hear of it otherwise."""
    clock = MovedClock()
    with WebServer(lambda _request: [page(b"")]) as web:
        settings = replace(lab_settings(tmp_path), notices=telling(web), audit=ROOM)
        application = Application(settings, clock=clock)
        with monkeypatch.context() as patch:
            patch.setattr("certeasy.cluster.boot.open_node", _gone)
            with pytest.raises(DatabaseUnavailable):
                application.open()
            application._notices.look()
            clock.pass_by(AFTER)
            application._notices.look()
            soon(lambda: web.requests)
            told = msgspec.json.decode(web.bodies[0])
            assert (told["kind"], told["state"], told["node"]) == ("database-gone", "begun", "")
        application.open()
        try:
            clock.pass_by(AFTER)
            application._notices.look()
            soon(lambda: len(web.requests) > 1)
            assert msgspec.json.decode(web.bodies[1])["state"] == "ended"
        finally:
            application.close()


def test_a_node_that_was_here_before_is_named_while_its_start_waits(tmp_path, monkeypatch):
    settings = lab_settings(tmp_path)
    with a_server(tmp_path, settings=settings) as server:
        known = server.node.identity.server_id
    clock = MovedClock()
    with WebServer(lambda _request: [page(b"")]) as web, monkeypatch.context() as patch:
        application = Application(replace(settings, notices=telling(web)), clock=clock)
        patch.setattr("certeasy.cluster.boot.open_node", _gone)
        with pytest.raises(DatabaseUnavailable):
            application.open()
        application._notices.look()
        clock.pass_by(AFTER)
        application._notices.look()
        soon(lambda: web.requests)
        told = msgspec.json.decode(web.bodies[0])
        application.close()
    assert (told["kind"], told["node"]) == ("database-gone", known)


def _gone(*_given):
    raise DatabaseUnavailable("the database is out of service: nobody listens there")


def test_certificates_that_are_not_renewed_are_told_by_name_and_new_ones_too(tmp_path):
    early = RenewalInfoSettings(window_width=timedelta(minutes=1))
    with some_people(tmp_path, renewal_info=early) as people:
        client = people.lab.client()
        client.register()
        client.certificate("web.lab.test")
        people.clock.pass_by(61 * DAY)
        people.server.counts.count()
        notice = people.begins()
        assert notice["kind"] == "certificate-overdue"
        assert "web.lab.test, ends 20" in notice["message"]
        people.look(later=2 * HOUR)
        assert "certs list" in notice["remedy"]
        client.drop_nonce()
        client.certificate("web.lab.test")
        people.clock.pass_by(DAY)
        people.server.counts.count()
        people.look()
        assert people.ends()["state"] == "ended"


def test_an_own_certificate_that_nobody_replaces_is_told_before_its_end(tmp_path):
    make_server_certificate(tmp_path)
    bundle = TlsBundle(
        name="own",
        hosts=("acme.corp.example",),
        mode="files",
        certificate=tmp_path / "tls.pem",
        key=tmp_path / "tls.key",
    )
    own = TlsSettings(bundles=(bundle,))
    server = replace(lab_settings(tmp_path).server, tls=True)
    with some_people(tmp_path, server=server, tls_certificate_manager=own) as people:
        people.server.own_certificates.all()
        people.look()
        people.clock.pass_by(20 * HOUR)
        notice = people.begins()
        assert (notice["kind"], notice["subject"]) == ("own-certificate-failing", "own")
        assert "in hours, and its files are not replaced" in notice["message"]


def test_what_goes_on_is_told_again_each_day(tmp_path, monkeypatch):
    with some_people(tmp_path) as people:
        monkeypatch.setattr(people.server, "_low_disk", lambda: "10 bytes are free")
        people.begins()
        for _ in range(50):
            people.look(later=HOUR)
        again = people.told(2)
        assert {notice["state"] for notice in again} == {"continues"}
        assert all("(since 20" in notice["message"] for notice in again)


def test_only_what_was_asked_for_is_told(tmp_path, monkeypatch):
    with WebServer(lambda _request: [page(b"")]) as web:
        some = telling(web, kinds=("journal-disk-low",))
        clock = MovedClock()
        with a_lab(tmp_path, clock=clock, sections={"audit": ROOM, "notices": some}) as lab:
            people = People(lab, web, clock)
            monkeypatch.setattr(people.server, "_low_disk", lambda: "10 bytes are free")
            monkeypatch.setattr(people.server, "_database_reason", lambda: "it is gone")
            assert people.begins()["kind"] == "journal-disk-low"
            people.look(later=AFTER)
            people.told(0)


def test_who_is_told_can_be_changed_while_the_server_runs(tmp_path, monkeypatch):
    """Nobody was told before; and what the first one knows, the second is not told again."""
    with MailServer() as mails, some_people(tmp_path, notices=NoticesSettings()) as people:
        server = people.server
        monkeypatch.setattr(server, "_low_disk", lambda: "10 bytes are free")
        people.look()
        people.look(later=AFTER)
        assert server._notices._thread is None
        server.reload(replace(server.settings, notices=telling(people.web)))
        people.look(later=DAY)
        assert people.told(1)[0]["state"] == "continues"
        smtp = SmtpSettings(
            host="127.0.0.1",
            port=mails.port,
            security="none",
            sender="certeasy@corp.example",
            to=("pki@corp.example",),
        )
        server.reload(replace(server.settings, notices=NoticesSettings(smtp=smtp)))
        people.look(later=HOUR)
        people.look(later=DAY)
        soon(lambda: mails.mails)
        people.told(0)
        assert mails.mails[0].message["X-Certeasy-Notice"] == "journal-disk-low; continues"


def test_a_check_that_fails_costs_no_other(tmp_path, monkeypatch):
    def broken():
        raise OSError("the disk cannot be asked")

    with some_people(tmp_path) as people:
        monkeypatch.setattr(people.server.node.journal, "trouble", broken)
        monkeypatch.setattr(people.server, "_low_disk", lambda: "10 bytes are free")
        assert people.begins()["kind"] == "journal-disk-low"


def test_a_server_looks_around_by_itself(tmp_path, monkeypatch):
    monkeypatch.setattr("certeasy.notices.LOOK", 0.01)
    clock = MovedClock()
    with WebServer(lambda _request: [page(b"")]) as web:
        notices = telling(web, after=timedelta(milliseconds=1))
        settings = replace(lab_settings(tmp_path), audit=ROOM, notices=notices)
        with a_server(tmp_path, clock=clock, settings=settings) as server:
            faults = [RuntimeError("of a kind that nobody thought of")]

            def low():
                if faults:
                    raise faults.pop()
                return "10 bytes are free"

            monkeypatch.setattr(server.counts, "overdue", None)  # a look that fails as a whole
            monkeypatch.setattr(server, "_low_disk", low)
            soon(lambda: not faults)
            monkeypatch.setattr(server.counts, "overdue", ())
            soon(lambda: web.requests)
        thread = server._notices._thread
        assert thread is not None
        assert not thread.is_alive()


def test_a_webhook_that_hangs_keeps_no_server_from_stopping(tmp_path, monkeypatch):
    with WebServer(lambda _request: [3600.0]) as web:
        clock = MovedClock()
        settings = replace(lab_settings(tmp_path), audit=ROOM, notices=telling(web))
        with a_server(tmp_path, clock=clock, settings=settings) as server:
            monkeypatch.setattr(server, "_low_disk", lambda: "10 bytes are free")
            server._notices.look()
            clock.pass_by(AFTER)
            server._notices.look()
            soon(lambda: web.requests)


# ---------------------------------------------------------------- certeasy notices test


def tried(path: Path, *options: str):
    return CliRunner().invoke(notices, ["test", "-f", str(path), *options])


def test_each_way_is_tried_and_told(tmp_path):
    with WebServer(lambda _request: [page(b"")]) as web, MailServer() as mails:
        text = (
            f"{{webhook: {{url: 'http://127.0.0.1:{web.port}/s3cret'}}, smtp: {{host: 127.0.0.1,"
            f" port: {mails.port}, security: none, from: c@corp.example, to: [p@corp.example]}}}}"
        )
        done = tried(a_config(tmp_path, notices=text))
        assert done.output.splitlines() == [
            f"webhook: sent: http://127.0.0.1:{web.port} answered 200",
            f"smtp: sent: 127.0.0.1 port {mails.port} took it",
        ]
        assert done.exit_code == 0
        assert msgspec.json.decode(web.bodies[0])["kind"] == "test"
        assert mails.mails[0].message["X-Certeasy-Notice"] == "test; test"


def test_a_test_names_the_node_where_there_is_one(tmp_path):
    node = "3f0c5b1e-8f5a-4c0e-9d58-7d8a1e2b6c11"
    told = []
    with WebServer(lambda _request: [page(b"")]) as web:
        path = a_config(tmp_path, notices=f"{{webhook: {{url: 'http://127.0.0.1:{web.port}/s'}}}}")
        workdir = config.load(path).workdir
        workdir.mkdir(exist_ok=True)
        for content in (None, b"not an id", node.encode() + b"\n"):
            if content is not None:
                (workdir / "server_id").write_bytes(content)
            assert tried(path).exit_code == 0
            told.append(msgspec.json.decode(web.bodies[-1])["node"])
    assert told == ["", "", node]


def test_a_way_that_leads_nowhere_is_told_and_the_other_is_tried_all_the_same(tmp_path):
    with WebServer(lambda _request: [page(b"", "404 Not Found")]) as web, MailServer() as mails:
        text = (
            f"{{webhook: {{url: 'http://127.0.0.1:{web.port}/s3cret'}}, smtp: {{host: 127.0.0.1,"
            f" port: {mails.port}, security: none, from: c@corp.example, to: [p@corp.example]}}}}"
        )
        done = tried(a_config(tmp_path, notices=text), "--json")
    assert done.exit_code == 1
    assert msgspec.json.decode(done.stdout) == {
        "sent": False,
        "channels": [
            {
                "channel": "webhook",
                "sent": False,
                "told": f"http://127.0.0.1:{web.port} answered 404",
            },
            {"channel": "smtp", "sent": True, "told": f"127.0.0.1 port {mails.port} took it"},
        ],
    }


def test_a_configuration_with_nobody_to_tell_says_so(tmp_path):
    done = tried(a_config(tmp_path))
    assert done.exit_code == 1
    assert "nobody to tell" in done.output
