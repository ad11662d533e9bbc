"""From YAML nodes to settings, guided by the structs themselves.

A struct is a section, its fields are the keys, their types say what may stand there. Whatever is
wrong is noted on the page and reading goes on, so that one run tells every mistake. A value that
was wrong counts as left out; `UNSET` stands for it on the way.
"""

from collections.abc import Iterator
from difflib import get_close_matches
from functools import cache, partial
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from msgspec import UNSET, Meta, Struct
from msgspec.structs import fields
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from certeasy.config import document, forms, later
from certeasy.config.mistakes import Page, one_line, quoted
from certeasy.config.scalars import TABLES, Place, noun, scalar
from certeasy.settings import (
    CONFIGURATIONS,
    AuthoritySettings,
    Network,
    ServerSettings,
    Settings,
)

_LONGEST_KEY = 100
# Lists that mean nothing when they are empty, or something other than it seems.
_NEVER_EMPTY = frozenset(
    "url hosts suffixes zones allowed_algorithms allowed_ec_curves challenges authorities"
    " to kinds".split()
)
_NO_KEY = (Settings, "source")
_BY_TYPE = (AuthoritySettings, "configuration")


def read(root: MappingNode, page: Page, configdir: Path) -> Settings:
    """Return the settings of a file; of one with mistakes, as much of them as could be read."""
    return _Reading(page, configdir).settings(root)


def single(text: str, place: Place, *, at: str, configdir: Path, workdir: Path | None) -> Any:
    """Return one value, or one item of a list, as if the text stood in a file at this place.

    ValueError: it would be refused there, in the same words.
    """
    kind, meta = _bare(_hints(place[0])[place[1]])
    if get_origin(kind) is tuple:
        kind, meta = _bare(get_args(kind)[0])
    path = partial(forms.path, configdir=configdir, workdir=workdir)
    number = kind is int and text.isascii() and text.isdecimal()
    node = ScalarNode(document.NUMBER if number else document.TEXT, text)
    return scalar(node, kind, meta, at=at, place=place, path=path)


class _Reading:
    """One file on its way: the page for its mistakes, and what its anchors stand for."""

    def __init__(self, page: Page, configdir: Path) -> None:
        self._page = page
        self._configdir = configdir
        self._workdir: Path | None = None

    def settings(self, root: MappingNode) -> Settings:
        """Return what the outermost section says."""
        entries = self._entries(root, Settings, "")
        # The working directory first: other paths begin with it.
        workdir = self._field(entries, Settings, "workdir", "")
        self._workdir = workdir if isinstance(workdir, Path) else self._configdir
        names = [f.name for f in fields(Settings) if f.name not in ("workdir", "source")]
        found = {name: self._field(entries, Settings, name, "") for name in names}
        given = {name: value for name, value in found.items() if value is not UNSET}
        given.setdefault("server", ServerSettings(url=()))
        return Settings(workdir=self._workdir, source=self._page.file, **given)

    def _section(self, node: Node, kind: type[Struct], key: str) -> Any:
        """Return the struct that a section describes; UNSET: it lacks what it needs."""
        if isinstance(node, ScalarNode) and node.tag == document.NOTHING:
            node = MappingNode(node.tag, [], node.start_mark, node.end_mark)
        if not isinstance(node, MappingNode):
            self._page.add(key, f"must be a section of `key: value` lines, not {noun(node)}")
            return UNSET
        entries = self._entries(node, kind, key)
        found: dict[str, Any] = {}
        for field in fields(kind):
            if (kind, field.name) == _BY_TYPE:
                found[field.name] = self._configuration(entries, found["type"], key)
            else:
                found[field.name] = self._field(entries, kind, field.name, key)
        given = {name: value for name, value in found.items() if value is not UNSET}
        if any(field.required and field.name not in given for field in fields(kind)):
            return UNSET
        return kind(**given)

    def _configuration(self, entries: dict[str, Node], word: Any, key: str) -> Any:
        """Return what an authority's type needs. Left out, it lacks what has no default."""
        if word is UNSET:
            return UNSET
        at = f"{key}.configuration"
        nothing = ScalarNode(document.NOTHING, "", None, None)
        return self._section(entries.get("configuration", nothing), CONFIGURATIONS[word], at)

    def _entries(self, node: MappingNode, kind: type[Struct], key: str) -> dict[str, Node]:
        """Return field name -> node for the known keys of a section; tell of the others."""
        names = {f.encode_name: f.name for f in fields(kind) if (kind, f.name) != _NO_KEY}
        entries: dict[str, Node] = {}
        for word, line, value in self._pairs(node, key):
            at = f"{key}.{word}" if key else word
            if word in names:
                self._page.place(at, line)
                entries[names[word]] = value
            else:
                self._page.add(at, _unknown(word, kind, list(names)), line=line)
        return entries

    def _pairs(self, node: MappingNode, key: str) -> Iterator[tuple[str, int, Node]]:
        """Yield key, line and value of each entry of a mapping, each key once."""
        seen: dict[str, int] = {}
        for name, value in node.value:
            line = name.start_mark.line + 1
            if not isinstance(name, ScalarNode) or len(name.value) > _LONGEST_KEY:
                self._page.add(key, "has a key that is no word", line=line)
                continue
            word = one_line(name.value)
            if word in seen:
                at = f"{key}.{word}" if key else word
                self._page.add(at, f"is set twice, first in line {seen[word]}", line=line)
                continue
            seen[word] = line
            yield word, line, value

    def _field(self, entries: dict[str, Node], kind: type[Struct], name: str, key: str) -> Any:
        """Return the value of one field; UNSET: left out, or wrong."""
        field = next(field for field in fields(kind) if field.name == name)
        at = f"{key}.{field.encode_name}" if key else field.encode_name
        if name in entries:
            return self._value(entries[name], _hints(kind)[name], at, (kind, name))
        if field.required:
            self._page.add(at, "is missing")
        return UNSET

    def _value(self, node: Node, hint: Any, at: str, place: Place) -> Any:
        """Return a value of any type; UNSET: it is wrong, and told."""
        kind, meta = _bare(hint)
        if isinstance(kind, type) and issubclass(kind, Struct):
            return self._section(node, kind, at)
        if get_origin(kind) is tuple:
            return self._items(node, get_args(kind)[0], at, place)
        if get_origin(kind) is dict:
            return self._table(node, get_args(hint), at, place)
        path = partial(forms.path, configdir=self._configdir, workdir=self._workdir)
        try:
            return scalar(node, kind, meta, at=at, place=place, path=path)
        except ValueError as wrong:
            self._page.add(at, str(wrong))
            return UNSET

    def _items(self, node: Node, hint: Any, at: str, place: Place) -> Any:
        """Return a list as a tuple, without the items that are wrong."""
        if not isinstance(node, SequenceNode):
            self._page.add(at, f"must be a list, one `- item` a line, not {noun(node)}")
            return UNSET
        if not node.value and place[1] in _NEVER_EMPTY:
            self._page.add(at, "is an empty list; give an item, or leave the key out")
        found: list[object] = []
        seen: set[str] = set()
        for index, item in enumerate(node.value):
            key = f"{at}[{index}]"
            self._page.place(key, item.start_mark.line + 1)
            value = self._value(item, hint, key, place)
            if isinstance(value, str | Network) and str(value) in seen:
                self._page.add(key, f"{quoted(str(value), key)} is listed twice")
            elif value is not UNSET:
                seen.add(str(value) if isinstance(value, str | Network) else "")
                found.append(value)
        return tuple(found)

    def _table(self, node: Node, hints: tuple[Any, ...], at: str, place: Place) -> Any:
        """Return a table: what its names are is in `TABLES`."""
        what, form = TABLES[place]
        if not isinstance(node, MappingNode):
            self._page.add(at, f"must be a table of `{what}` lines, not {noun(node)}")
            return UNSET
        found: dict[str, str] = {}
        for word, line, value in self._pairs(node, at):
            key = f'{at}["{word}"]'
            self._page.place(key, line)
            try:
                name = form(word)
            except ValueError as wrong:
                self._page.add(key, str(wrong))
                continue
            told = self._value(value, hints[1], key, place)
            if name in found:
                self._page.add(key, "is set twice, in another spelling")
            elif told is not UNSET:
                found[name] = told
        return found


@cache
def _hints(kind: type[Struct]) -> dict[str, Any]:
    """Return the types of a struct's fields, with their bounds."""
    return get_type_hints(kind, include_extras=True)


def _bare(hint: Any) -> tuple[Any, Meta | None]:
    """Return a type without its bounds and without `| None`, and the bounds."""
    if get_origin(hint) in (Union, UnionType) and NoneType in get_args(hint):
        hint = next(kind for kind in get_args(hint) if kind is not NoneType)
    if get_origin(hint) is Annotated:
        kind, meta = get_args(hint)
        return kind, meta
    return hint, None


def _unknown(word: str, kind: type[Struct], known: list[str]) -> str:
    """Return what to say of a key that a section does not have."""
    if told := later.KEYS.get(kind, {}).get(word):
        return told
    near = get_close_matches(word.lower().replace("_", "-"), known, n=1)
    if near:
        return f"is not a key; did you mean {near[0]}?"
    return f"is not a key; allowed: {', '.join(known)}"
