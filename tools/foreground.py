"""Run a program so that Ctrl-C reaches it alone, and end with its exit status.

    python -m tools.foreground PROGRAM [ARGUMENT ...]

make, which is in the same foreground group of the terminal, takes every Ctrl-C for an error of its
own ("Interrupt", status 130), however orderly the program ended. So the program gets the terminal
and a process group of its own, as a shell does it for its jobs; Ctrl-Z and `fg` work as well.
Without a terminal, or in the background, nothing is handed over: it takes the place of this one.
"""

import os
import signal
import subprocess
import sys


def main() -> None:
    """Run what the command line names."""
    command = sys.argv[1:]
    terminal = foreground_terminal()
    if terminal is None:
        replace(command)
    else:
        sys.exit(run_in_front(command, terminal))


def foreground_terminal() -> int | None:
    """Return a descriptor of our terminal if Ctrl-C on it would reach us, else None."""
    if os.name == "nt":
        return None
    try:
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    return terminal if os.tcgetpgrp(terminal) == os.getpgrp() else None


def replace(command: list[str]) -> None:
    """Become the program; on Windows, where there is no such thing, wait for it."""
    if os.name == "nt":
        sys.exit(subprocess.run(command, check=False).returncode)  # noqa: S603 - given by our Makefile
    os.execvp(command[0], command)  # noqa: S606 - given by our Makefile


def run_in_front(command: list[str], terminal: int) -> int:
    """Run the program in the terminal's foreground and return its exit status."""
    # Whoever is not in front is stopped when it hands the terminal over, unless it ignores this.
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)

    def step_forward() -> None:
        os.setpgid(0, 0)
        os.tcsetpgrp(terminal, os.getpid())
        signal.signal(signal.SIGTTOU, signal.SIG_DFL)

    # In the child, so that the program is in front before its first word; we have one thread only.
    child = subprocess.Popen(command, preexec_fn=step_forward)  # noqa: PLW1509, S603 - see above
    try:
        return wait(child.pid, terminal)
    finally:
        os.tcsetpgrp(terminal, os.getpgrp())


def wait(pid: int, terminal: int) -> int:
    """Wait for the program's end; stop and go on together with it."""
    while True:
        os.tcsetpgrp(terminal, pid)
        os.killpg(pid, signal.SIGCONT)
        _, status = os.waitpid(pid, os.WUNTRACED)
        if not os.WIFSTOPPED(status):
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code
        os.tcsetpgrp(terminal, os.getpgrp())
        os.kill(0, signal.SIGTSTP)  # us and make; the shell's `fg` wakes us here


if __name__ == "__main__":
    main()
