"""`make demo` on a terminal: Ctrl-C is for the demo, and its end is make's."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TERMINAL = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"
PROGRAM = """
import signal, sys, time
signal.signal(signal.SIGINT, lambda *_: (print("orderly end", flush=True), sys.exit({status})))
print("serving", flush=True)
time.sleep(30)
"""

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no make, nor its problem")


def run_and_interrupt(folder: Path, status: int) -> tuple[int, bytes]:
    """Run the stand-in through make on a terminal, type Ctrl-C; return status and output."""
    (folder / "program.py").write_text(PROGRAM.format(status=status))
    demo = f"cd {ROOT} && {sys.executable} -m tools.foreground {sys.executable} {folder}/program.py"
    (folder / "Makefile").write_text(f"demo:\n\t@{demo}\n")
    command = [sys.executable, "-c", TERMINAL, str(shutil.which("make")), "-C", str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        seen = b""
        while b"serving" not in seen:
            line = process.stdout.readline()
            assert line, seen
            seen += line
        process.stdin.write(b"\x03")
        process.stdin.flush()
        seen += process.stdout.read()
    return process.returncode, seen


def test_an_orderly_end_by_ctrl_c_is_no_error_of_make(tmp_path: Path):
    status, seen = run_and_interrupt(tmp_path, 0)
    assert b"orderly end" in seen
    assert b"***" not in seen
    assert status == 0


def test_a_failing_end_by_ctrl_c_stays_one(tmp_path: Path):
    status, seen = run_and_interrupt(tmp_path, 3)
    assert b"Error 3" in seen
    assert status != 0
