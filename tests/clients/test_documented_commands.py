"""The commands of the documents, typed in their order beside a server that has issued certificates:
what the pages say can be done is done, but for names, numbers and folders.

Commands that need a second node, or a fault, are run where those are: tests/cluster, tests/faults.
"""

import re
from pathlib import Path

import pytest

from tests.make.acme_client import QUIET_ENV, assert_certificate, run
from tests.make.certbot import Certbot
from tests.make.certeasy_server import CERTEASY, certeasy
from tests.make.pages import DOCS

pytestmark = pytest.mark.timeout(600)

TYPED = re.compile(r"^    (certeasy .*)$", re.MULTILINE)


class Typist:
    """Types what a page has on lines of its own, in the folder where config.yml is.

    `here` tells what stands here for a word of the page; `learns` is what a word stands for that
    only the output of an earlier command tells, with a pattern that finds it there. `pick`: only
    commands with such words.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(
        self,
        page: str,
        section: str = "",
        here: dict[str, str] | None = None,
        learns: dict[str, str] | None = None,
        pick: str = "",
    ) -> list[str]:
        """Return what each of the commands printed; AssertionError where one fails."""
        text = (DOCS / page).read_text(encoding="utf-8")
        if section:
            assert f"\n{section}\n" in text, f"{page} has no {section}"
            level = section.partition(" ")[0]
            text = re.split(rf"\n#{{1,{len(level)}}} ", text.partition(f"\n{section}\n")[2])[0]
        every = TYPED.findall(text.replace("\\\n", " "))
        lines = [line for line in every if re.search(pick, line)]
        assert lines, f"{page} has no command there"
        known, said = dict(here or {}), list[str]()
        for word in known:
            assert any(word in line for line in lines), f"{word} is not on {page} any more"
        for line in lines:
            said.append(self.types(line, known))
            for word, pattern in (learns or {}).items():
                if match := re.search(pattern, said[-1], re.MULTILINE):
                    known.setdefault(word, match[1])
        return said

    def types(self, line: str, known: dict[str, str] | None = None) -> str:
        """Type a line into a shell."""
        for word, meant in (known or {}).items():
            line = line.replace(word, meant)
        path = f"{CERTEASY.parent}:{QUIET_ENV['PATH']}"
        return run(["sh", "-ec", line], cwd=self.folder, PATH=path)


def found(pattern: str, text: str) -> str:
    """Return what a pattern finds."""
    match = re.search(pattern, text)
    assert match, text
    return match[1]


def test_what_the_documents_say_can_be_done_is_done(tmp_path: Path) -> None:
    types = Typist(tmp_path)
    with certeasy(tmp_path) as server:
        (tmp_path / "client").mkdir()
        certbot = Certbot(CERTEASY.with_name("certbot"), server, tmp_path / "client")
        name = server.name("web.shop")
        certbot.certonly(name)
        serial = types.types("certeasy certs list -f config.yml").split()[2]
        account = types.types("certeasy accounts list -f config.yml").split()[0]
        (tmp_path / "stolen.txt").write_text(f"{serial}\n")
        zone, web = {".shop.corp.example": ".shop.lab.test"}, {"web.corp.example": name}

        types("eab.md", here=zone, learns={"KID": r"^kid +(\S+)"})
        shown = types.types(f"certeasy certs show {serial} -f config.yml")
        assert name in shown

        types("cli.md", "## Verifying without the server", {"audit.log": "work/audit.log", **web})

        types.types("certeasy audit head -f config.yml > heads.json")
        proof = types.types("certeasy audit verify -f config.yml")
        known = {"KID": found(r"anchor ([\w-]+)", proof), "5b1f…": serial, **web}
        known["2026-06-30T23:59:59Z"] = found(r"Z to (\S+Z)", proof)
        known["--journal node1 --journal node2"] = "--journal work"
        audited = types("auditors.md", here=known, learns={"position N": r"(position \d+)"})
        assert "ordered a certificate" in audited[-2]

        early = {"old-ca": "lab-ca", "2026-11-01T12:00:00Z": "2100-01-01"}
        assert serial in types("renewal.md", "## Many certificates at once", early)[-1]

        backups = {"/srv/backups/": f"{tmp_path}/"}
        types("recovery.md", "### SQLite", backups, pick="backup (create|verify)")

        issued = {"6b1f04": serial, "ID -f": f"{account} -f", **zone}
        types("operations.md", "## What was issued", issued)
        assert_certificate((tmp_path / "web.pem").read_bytes(), certbot.stored()[1], [name])
        assert f",{name}," in (tmp_path / "shop.csv").read_text()

        person = {"ops@corp.example": "admin@corp.example", "192.0.2.7": "127.0.0.1"}
        types("privacy.md", here=person)
    for file in (tmp_path / "work").glob("db.sqlite*"):
        file.unlink()
    (restored,) = types("recovery.md", "### SQLite", backups, pick="backup restore")
    assert "journal restore" in restored  # what came after the backup is in the journal
    types.types("certeasy journal restore -f config.yml")
    types.types("certeasy audit verify -f config.yml")
