"""Where the answers of `certeasy init` come from: a terminal, or a script.

A question is answered by words: one, or several where it takes a list. Each is held against the
checks of the configuration at once, by the very functions that will read the file. A terminal is
asked again; of a script everything that is wrong is told together, with its lines.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from textwrap import wrap
from typing import Protocol

import click
import msgspec
from rich.console import Console
from rich.text import Text
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from certeasy.cli.options import fail
from certeasy.config import Page, document, reading
from certeasy.config.mistakes import one_line, quoted
from certeasy.config.scalars import Place

LINE = 96
Words = tuple[str, ...]
Read = Callable[[Sequence[str]], Words]


class Question(msgspec.Struct, frozen=True):
    """One question. `key` names its answer in a script, and wherever it is spoken of."""

    key: str
    text: str
    place: Place | None = None
    """Where the answer goes in the configuration: what may stand there may be answered."""
    hint: str = ""
    form: Callable[[str], str] | None = None
    """Where it is no single value of the configuration: returns the answer, or ValueError."""
    choices: Words = ()
    default: Words = ()
    """What a terminal offers; a script has to say."""
    many: bool = False
    optional: bool = False
    """Whether nothing is an answer, too."""
    decides: bool = False
    """Whether the questions that follow hang on it."""


class Context(msgspec.Struct, frozen=True):
    """What paths may begin with."""

    configdir: Path
    workdir: Path | None = None


class Source(Protocol):
    """Who answers."""

    def take(self, question: Question, read: Read) -> Words:
        """Return the answer, read; where it was wrong and cannot be asked again, the default."""
        ...

    def refuse(self, key: str, wrong: str) -> bool:
        """Take note that something answered turned out to be wrong; whether it is asked again."""
        ...

    def wants(self, key: str, *, needed: bool) -> bool:
        """Whether a question that few have to answer is asked: if it turned out to be `needed`, or
        if there is an answer already."""
        ...

    def sound(self) -> bool:
        """Whether nothing was found wrong so far that was not put right."""
        ...

    def finish(self) -> None:
        """All questions were asked. ConfigurationError: with what is wrong with the answers."""
        ...


def read(question: Question, words: Sequence[str], context: Context) -> Words:
    """Return an answer as the configuration will have it. ValueError: why it would be refused."""
    if not words and not question.optional:
        raise ValueError("is empty; an answer is needed")
    if len(words) > 1 and not question.many:
        raise ValueError("is a list; one value is needed")
    found = tuple(_one(question, word, context) for word in words)
    if len(set(found)) < len(found):
        raise ValueError("has the same item twice")
    return found


def _one(question: Question, word: str, context: Context) -> str:
    key = question.key
    if question.place is not None:
        configdir, workdir = context.configdir, context.workdir
        place = question.place
        value = reading.single(word, place, at=key, configdir=configdir, workdir=workdir)
        word = str(value)
    elif question.form is not None:
        try:
            word = question.form(word)
        except ValueError as wrong:
            raise ValueError(f"{quoted(word, key)} {wrong}") from None
    if question.choices and word not in question.choices:
        allowed = ", ".join(question.choices)
        raise ValueError(f"{quoted(word, key)} is not offered here; allowed: {allowed}")
    return word


class Terminal:
    """Somebody who types."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def take(self, question: Question, read: Read) -> Words:
        """Ask until the answer can be used."""
        while True:
            try:
                return read(self._typed(question))
            except ValueError as wrong:
                self._complain(str(wrong))

    def _typed(self, question: Question) -> list[str]:
        offered = ", ".join(question.default)
        text = question.text
        if question.choices:
            text += f" ({', '.join(question.choices)})"
        hint = [question.hint] if question.hint else []
        hint += ["several: with commas between"] if question.many else []
        if hint:
            self._console.print(Text(f"\n  {'; '.join(hint)}", "dim"), soft_wrap=True)
        default = offered if offered or question.optional else None
        try:
            typed = click.prompt(text, default=default, show_default=bool(offered))
        except click.Abort:
            click.echo()
            fail(f"the answers ended before {question.key}: {question.text}")
        if not question.many:
            return [typed.strip()] if typed.strip() else []
        return [word.strip() for word in typed.split(",") if word.strip()]

    def refuse(self, key: str, wrong: str) -> bool:
        """Say what is wrong; it is asked again."""
        self._complain(f"{key}: {wrong}")
        return True

    def wants(self, key: str, *, needed: bool) -> bool:  # noqa: ARG002 - nothing is known before
        """Nobody is asked what is not needed."""
        return needed

    def _complain(self, wrong: str) -> None:
        self._console.print(Text(f"  {one_line(wrong)}", "red"), soft_wrap=True)

    def sound(self) -> bool:
        """Whatever was wrong was asked again."""
        return True

    def finish(self) -> None:
        """Nothing is left over."""


class Script:
    """A YAML file, its answers under the keys of the questions."""

    def __init__(self, text: str, file: Path) -> None:
        """Raises ConfigurationError where the text is no script at all."""
        self._page = Page(file)
        self._answers = dict(_leaves(document.parse(text, file), "", self._page))
        self._asked: list[str] = []

    def take(self, question: Question, read: Read) -> Words:
        """Return what the script says; note on its page what is wrong with that."""
        key = question.key
        self._asked.append(key)
        before = len(self._page.mistakes)
        if key not in self._answers:
            self._page.add(key, f"is missing: {question.text}")
        else:
            try:
                return read(self._words(self._answers[key]))
            except ValueError as wrong:
                self._page.add(key, str(wrong))
        if question.decides and len(self._page.mistakes) > before:
            self._page.raise_if_wrong()  # what else the script needs is not known
        return question.default

    def _words(self, node: Node) -> list[str]:
        if isinstance(node, ScalarNode):
            nothing = node.tag == document.NOTHING or not node.value
            return [] if nothing else [node.value]
        assert isinstance(node, SequenceNode)
        if any(not isinstance(item, ScalarNode) for item in node.value):
            raise ValueError("has an item that is no single value")
        return [item.value for item in node.value]

    def refuse(self, key: str, wrong: str) -> bool:
        """Note what is wrong; a script is not asked again."""
        self._page.add(key, wrong)
        return False

    def wants(self, key: str, *, needed: bool) -> bool:  # noqa: ARG002 - a script cannot be asked
        """It may have said so."""
        return key in self._answers

    def sound(self) -> bool:
        """Whether nothing was found wrong so far."""
        return not self._page.mistakes

    def finish(self) -> None:
        """Hold what the script says against what was asked."""
        for key in self._answers:
            if key not in self._asked:
                near = get_close_matches(key, self._asked, n=1)
                hint = f"; did you mean {near[0]}?" if near else ": the other answers leave it open"
                self._page.add(key, f"is not asked{hint}")
        self._page.raise_if_wrong()


def _leaves(node: MappingNode, above: str, page: Page) -> Iterator[tuple[str, Node]]:
    """Yield key and node of each answer, its line noted on the page."""
    seen: set[str] = set()
    for name, value in node.value:
        line = name.start_mark.line + 1
        word = one_line(str(name.value)) if isinstance(name, ScalarNode) else "?"
        key = f"{above}.{word}" if above else word
        if key in seen:
            page.add(key, "is answered twice", line=line)
            continue
        seen.add(key)
        page.place(key, line)
        if isinstance(value, MappingNode):
            yield from _leaves(value, key, page)
        else:
            yield key, value


def script(given: Mapping[str, Words], questions: Mapping[str, Question]) -> str:
    """Return the answers as a script that gives them again."""
    lines = ["# Answers for `certeasy init --script FILE`; each key stands below its question.\n"]
    section = ""
    for key, words in given.items():
        above, _, name = key.rpartition(".")
        if above and above != section:
            lines.append(f"{above}:\n")
        section, indent = above, "  " if above else ""
        question = questions[key]
        said = f"{question.text}: {question.hint}" if question.hint else question.text
        lines += [f"{indent}# {line}\n" for line in wrap(said, LINE)]
        if question.many:
            items = ", ".join(as_yaml(word) for word in words)
            lines.append(f"{indent}{name}: [{items}]\n")
        else:
            lines.append(f"{indent}{name}: {as_yaml(words[0]) if words else '~'}\n")
    return "".join(lines)


def as_yaml(text: str) -> str:
    """Return a text as YAML has it, in quotes, where JSON and YAML agree."""
    return msgspec.json.encode(text).decode()
