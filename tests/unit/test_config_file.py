"""What a configuration file may consist of at all, and what is never repeated of it."""

from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from msgspec.structs import fields

from certeasy.config import Mistake
from certeasy.config.mistakes import MOST
from certeasy.settings import Settings
from tests.make.configs import a_config, a_file, mistakes_of, only_mistake_of

SERVER = "{{url: [https://acme.corp.test], tls: false, {}}}"


def test_a_message_is_one_line():
    mistake = Mistake(Path("config.yml"), 12, "server.listen", '"abc" is not host:port')
    assert str(mistake) == 'config.yml:12: server.listen: "abc" is not host:port'
    assert str(Mistake(Path("a\nb.yml"), 0, "", "is not a file")) == "a\\u000ab.yml: is not a file"


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("a: [\n", 2, "is not YAML"),
        ("a: b: c\n", 1, "mapping values are not allowed here"),
        ("workdir: /a\nserver:\n\tlisten: x\n", 3, "spaces, not with tabs"),
        ("a:\n  - *.corp.test\n", 2, 'begins with * needs quotes, as in "*.corp.example"'),
        ("a: %WORKDIR%/x\n", 1, "begins with % needs quotes"),
        ('a: "ca1.corp.test\\Corp CA"\n', 1, "needs single quotes, as in 'HOST"),
        ("a: @x\n", 1, "begins with @ needs quotes"),
        ("a: `x`\n", 1, "begins with ` needs quotes"),
        ("a: 1\n---\nb: 2\n", 2, "document"),
        ("a: &x 1\nb: *x\n", 1, "anchors and aliases"),
        ("a: 1\nb: *x\n", 2, "anchors and aliases"),
        ("a: " + "[" * 5000 + "\n", 1, "nested deeper than 20 levels"),
        ("- a\n", 1, "is not a configuration"),
        ("just text\n", 1, "is not a configuration"),
        ("a: 1\nb: \x07\n", 2, "control character U+0007"),
        ("a: 1\nb: \x00\n", 2, "control character U+0000"),
        (b"a: 1\nb: \xff\n", 2, "is not UTF-8"),
        (b"#" * ((1 << 20) + 1), 0, "is larger than 1048576 bytes"),
    ],
)
def test_what_is_no_yaml_is_told_with_its_line(tmp_path, text, line, what):
    mistake = only_mistake_of(a_file(tmp_path, text))
    assert what in mistake.what
    assert (mistake.line, mistake.key) == (line, "")


@pytest.mark.parametrize("text", ["", "# nothing\n", "~\n", "---\n"])
def test_an_empty_file_lacks_what_is_required(tmp_path, text):
    missing = {"workdir", "server", "dns-validation-profiles", "authorities", "issuance-policies"}
    assert {mistake.key for mistake in mistakes_of(a_file(tmp_path, text))} == missing


def test_a_bomb_of_aliases_does_not_go_off(tmp_path):
    lines = ["a0: &a0 [x, x]\n"] + [f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 90)]
    assert "anchors" in only_mistake_of(a_file(tmp_path, "".join(lines))).what


def test_what_is_no_file_is_told(tmp_path):
    assert "is not a file" in only_mistake_of(tmp_path).what
    absent = only_mistake_of(tmp_path / "absent.yml")
    assert str(absent) == f"{tmp_path}/absent.yml: cannot be read: No such file or directory"
    assert "cannot be read" in only_mistake_of(tmp_path / "a\0b").what


def test_a_file_of_nothing_but_mistakes_is_not_read_to_its_end(tmp_path):
    path = a_file(tmp_path, "".join(f"key{i}: x\n" for i in range(20_000)))
    mistakes = mistakes_of(path)
    assert len(mistakes) == MOST + 1
    assert mistakes[-1].what.startswith("too many mistakes")


@pytest.mark.parametrize(
    ("section", "text"),
    [
        ("database", "{dsn: 'postgres://u:hunter2@db/x'}"),
        ("database", "{path: 'postgres://u:hunter2@db/x'}"),
        ("database", "{path: 'server=db;pwd=hunter2'}"),
        ("server", SERVER.format("website: 'ftp://u:hunter2@a.test'")),
        ("server", "{url: ['https://u:hunter2@a.test'], tls: false}"),
        ("authorities", "[{name: a, type: fake, configuration: {password: hunter2}}]"),
        ("secrets", '{key-file: "-----BEGIN PRIVATE KEY-----\\nhunter2"}'),
    ],
)
def test_secrets_are_not_repeated(tmp_path, section, text):
    mistake = only_mistake_of(a_config(tmp_path, **{section: text}))
    assert "hunter2" not in str(mistake)


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_answered_with_mistakes(tmp_path, data):
    for mistake in mistakes_of(a_file(tmp_path, data)):
        assert len(str(mistake).splitlines()) == 1


WORDS = ["server", "url", "workdir", "authorities", "name", "dns", "allow", "type", "size", "key"]
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(WORDS) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([field.encode_name for field in fields(Settings)]), JUNK))
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_yaml_is_answered_with_mistakes(tmp_path, data):
    for mistake in mistakes_of(a_file(tmp_path, yaml.safe_dump(data))):
        assert len(str(mistake).splitlines()) == 1
