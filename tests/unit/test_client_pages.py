"""Each client has its page, and no page promises what is not there."""

import re
from pathlib import Path

import pytest
import yaml

from tests.make.pages import CLIENTS, DOCS, blocks

ROOT = DOCS.parent
PAGES = sorted(CLIENTS.glob("*.md"))
OF_ONE = [page for page in PAGES if page.stem not in {"index", "others"}]
NAMED = (
    "certbot lego acme-sh win-acme posh-acme cert-manager caddy traefik apache nginx proxmox"
    " fortigate"
).split()
SECTIONS = ("first certificate", "Renewal", "Revocation", "Known traps")
WORDS = (
    r"root\.pem|the root",
    r"https://acme\.corp\.example/acme/directory",
    "http-01",
    "dns-01",
    "eab",
    r"when to renew\]|renewal information\]",
)
"""Whom to trust, where to ask, how to prove, whom an account belongs to, when to renew."""


def name(page: Path) -> str:
    return page.stem


def test_each_client_that_administrators_ask_for_has_a_page():
    assert {page.stem for page in OF_ONE} == set(NAMED)


@pytest.mark.parametrize("page", OF_ONE, ids=name)
def test_a_page_tells_what_every_administrator_asks(page: Path):
    text = page.read_text(encoding="utf-8")
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    for section in SECTIONS:
        assert any(section in heading for heading in headings), section
    for word in WORDS:
        assert re.search(word, text), word


@pytest.mark.parametrize("page", OF_ONE, ids=name)
def test_a_page_says_whether_it_was_run_and_where(page: Path):
    text = page.read_text(encoding="utf-8")
    assert "Run by the tests" in text or "Not run here" in text
    for file in re.findall(r"`(tests/[\w/.]+)`", text):
        assert (ROOT / file).exists(), file


def test_the_first_page_leads_to_each_of_them():
    text = (CLIENTS / "index.md").read_text(encoding="utf-8")
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for page in PAGES:
        if page.stem != "index":
            assert f"({page.name})" in text, page
        assert f": clients/{page.name}\n" in nav, page


@pytest.mark.parametrize("page", OF_ONE, ids=name)
def test_what_a_page_says_was_run_is_run(page: Path):
    text = page.read_text(encoding="utf-8")
    tests = (ROOT / "tests/clients/test_client_pages.py").read_text(encoding="utf-8")
    shell = any(language == "sh" for language, _, _ in blocks(page))
    if "Run by the tests" in text:
        assert f'reads("{page.stem}")' in tests
    else:
        assert not shell, "what stands in a block of sh is run by the tests"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_what_is_to_be_written_in_yaml_is_yaml(page: Path):
    for language, _, text in blocks(page):
        if language == "yaml":
            assert list(yaml.safe_load_all(text))
