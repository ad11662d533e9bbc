"""A request has an id: a client reads it in a problem document, an administrator in the log."""

import logging
import re
from pathlib import Path

import msgspec
import pytest

from certeasy.log import ROOT, JsonLines, request
from tests.make.lab import a_lab

A_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"


def test_each_refusal_names_the_request_it_answers(tmp_path: Path):
    with a_lab(tmp_path) as lab:
        seen = set()
        for _ in range(3):
            answer = lab.wire.simulate_get("/acme/nowhere")
            named = re.fullmatch(f"urn:uuid:({A_UUID})", answer.json["instance"])
            assert named is not None
            seen.add(named[1])
        assert len(seen) == 3


def test_what_succeeds_has_no_such_member(tmp_path: Path):
    with a_lab(tmp_path) as lab:
        assert "instance" not in lab.wire.simulate_get("/acme/directory").json


def test_an_error_of_the_server_is_found_in_the_log_by_what_the_client_was_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    written: list[str] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            written.append(JsonLines().format(record))

    def broken(*_request: object) -> None:
        raise ValueError("an error of our own")

    handler = Kept()
    monkeypatch.setattr("certeasy.acme.accounts.NewAccountResource.on_post", broken)
    with a_lab(tmp_path) as lab:
        client = lab.client()
        logging.getLogger(ROOT).addHandler(handler)
        try:
            answer = client.post("https://acme.lab.test/acme/new-account", {}, kid=None)
        finally:
            logging.getLogger(ROOT).removeHandler(handler)
        assert answer.status_code == 500
        [line] = [msgspec.json.decode(line) for line in written if '"service":"acme"' in line]
        assert f"urn:uuid:{line['request']}" == answer.json["instance"]
        assert "an error of our own" in line["error"]
        assert "an error of our own" not in answer.text
    assert request() == ""
