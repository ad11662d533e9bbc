"""From a file to YAML nodes, each of which knows its line.

Only what a configuration needs of YAML is taken: one document of sections, lists and scalars.
Scalars are those of YAML 1.2 (`off` and `12:30` are text). Anchors and aliases are refused, and so
is deep nesting: a few lines of either can stand for gigabytes.
"""

from pathlib import Path
from re import compile as pattern

import yaml
from yaml.composer import ComposerError
from yaml.nodes import MappingNode, Node
from yaml.reader import ReaderError

from certeasy.config.mistakes import one_line, refuse

LARGEST = 1 << 20
DEEPEST = 20

TEXT = "tag:yaml.org,2002:str"
NUMBER = "tag:yaml.org,2002:int"
TRUTH = "tag:yaml.org,2002:bool"
NOTHING = "tag:yaml.org,2002:null"

_HINTS = (
    ("scanning an alias", 'a value that begins with * needs quotes, as in "*.corp.example"'),
    ("character '%'", 'a value that begins with % needs quotes, as in "%WORKDIR%/audit.log"'),
    ("character '\\t'", "lines are indented with spaces, not with tabs"),
    ("unknown escape character", "a value with a backslash needs single quotes, as in 'HOST\\CA'"),
    ("character '@'", "a value that begins with @ needs quotes"),
    ("character '`'", "a value that begins with ` needs quotes"),
)


class _Loader(yaml.SafeLoader):
    """PyYAML up to its nodes, with the scalars of YAML 1.2 and bounds."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 - PyYAML looks for the table at this name
    depth = 0

    def compose_node(self, parent: Node | None, index: int) -> Node | None:
        """Return the next node. ComposerError: an anchor, an alias, too deep."""
        event = self.peek_event()  # type: ignore[no-untyped-call] # PyYAML's stubs leave it out
        if getattr(event, "anchor", None) is not None:
            what = "anchors and aliases (& and *) are not used here; write the value out"
            raise ComposerError(None, None, what, event.start_mark)
        if self.depth >= DEEPEST:
            what = f"nested deeper than {DEEPEST} levels"
            raise ComposerError(None, None, what, event.start_mark)
        self.depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1


for _tag, _form, _first in (
    (TRUTH, r"true|True|TRUE|false|False|FALSE", "tTfF"),
    (NUMBER, r"[-+]?[0-9]+", "-+0123456789"),
    (NOTHING, r"~|null|Null|NULL|", ["~", "n", "N", ""]),
):
    _Loader.add_implicit_resolver(_tag, pattern(rf"^(?:{_form})\Z"), list(_first))


def read(path: Path) -> MappingNode:
    """Return the file's outermost section. ConfigurationError: it cannot be read or is no YAML."""
    return parse(text_of(path), path)


def parse(text: str, path: Path) -> MappingNode:
    """Return the outermost section of a text that stands, or is to stand, in a file."""
    try:
        node = _Loader(text).get_single_node()
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        refuse(path, line, f"contains the control character U+{_code(error.character):04X}")
    except yaml.MarkedYAMLError as error:
        refuse(path, _line(error), _reason(error))
    if node is None or node.tag == NOTHING:
        return MappingNode("tag:yaml.org,2002:map", [], None, None)
    if not isinstance(node, MappingNode):
        line = node.start_mark.line + 1
        refuse(path, line, "is not a configuration: it has to consist of `key: value` lines")
    return node


def text_of(path: Path) -> str:
    """Return the file's text. ConfigurationError: not a readable file, too big, not UTF-8."""
    try:
        if path.exists() and not path.is_file():  # opening a pipe would wait for a writer
            refuse(path, 0, "is not a file")
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        refuse(path, 0, f"cannot be read: {reason}")
    if len(data) > LARGEST:
        refuse(path, 0, f"is larger than {LARGEST} bytes")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        refuse(path, data.count(b"\n", 0, error.start) + 1, "is not UTF-8")


def _line(error: yaml.MarkedYAMLError) -> int:
    """Return the line (from 1) that an error of PyYAML speaks of."""
    mark = error.problem_mark or error.context_mark
    return mark.line + 1 if mark is not None else 0


def _reason(error: yaml.MarkedYAMLError) -> str:
    """Return an error of PyYAML in one sentence, with what to do where the cause is well known."""
    said = " ".join(part for part in (error.context, error.problem) if part)
    hint = next((hint for sign, hint in _HINTS if sign in said), None)
    if hint:
        return hint
    return f"is not YAML: {one_line(said)}" if error.context else one_line(said)


def _code(character: str | int | bytes) -> int:
    """Return the code point that an error of PyYAML speaks of."""
    return character if isinstance(character, int) else ord(character)
