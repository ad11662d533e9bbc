"""Logging: one line per event of the server's life, as text or as JSON, never with a secret in
it."""

import logging
import sys
from datetime import UTC, datetime
from pathlib import Path

import msgspec

ROOT = "certeasy"
LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "off": logging.CRITICAL + 1,
    "none": logging.CRITICAL + 1,
}


def logger(name: str) -> logging.Logger:
    """Return the logger of one part of the server."""
    return logging.getLogger(f"{ROOT}.{name}")


class JsonLines(logging.Formatter):
    """One JSON object per line: at, level, service, message, and an error's last line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line = {
            "at": _at(record),
            "level": record.levelname.lower(),
            "service": record.name.removeprefix(f"{ROOT}."),
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line).decode()


class TextLines(logging.Formatter):
    """A line for people."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, and a traceback where the program itself is at fault."""
        service = record.name.removeprefix(f"{ROOT}.")
        line = f"{_at(record)} {record.levelname.lower():7} {service}: {record.getMessage()}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def set_up(level: str, style: str, output: str, file: Path | None = None) -> None:
    """Send the server's log where the settings say: `output` is stderr, stdout or file."""
    handler: logging.Handler
    if output == "file" and file is not None:
        handler = logging.FileHandler(file, encoding="utf-8", delay=True)
    else:
        handler = logging.StreamHandler(sys.stdout if output == "stdout" else sys.stderr)
    handler.setFormatter(JsonLines() if style == "json" else TextLines())
    root = logging.getLogger(ROOT)
    for old in root.handlers[:]:
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    root.setLevel(LEVELS[level])
    root.propagate = False
    logging.getLogger("apscheduler").setLevel(logging.CRITICAL)  # a late look around is no news


def _at(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"
