r"""The service, as Windows' service manager keeps it: made, started, stopped, removed.

It runs as an account of its own that has no password and no other rights (`NT SERVICE\certeasy`),
unless another is named; starts with the system, delayed; is started again after a failure, in 5 s
and then each minute. Its process is the Python itself that has this package, for a virtual
environment's `python.exe` would start another one, which the manager does not know.

Windows only, by pywin32. Run under wine, not on Windows itself yet.
"""

import sys
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from subprocess import list2cmdline

assert sys.platform == "win32"

import pywintypes  # noqa: E402 - not everywhere
import win32security  # noqa: E402 - the same
import win32service  # noqa: E402 - the same
import winerror  # noqa: E402 - the same

import certeasy  # noqa: E402 - the same
from certeasy import eventlog  # noqa: E402 - the same
from certeasy.cluster import sddl  # noqa: E402 - the same
from certeasy.cluster.access_lists import (  # noqa: E402 - the same
    ADMINISTRATORS,
    keep_to,
    read_text,
    sid_of,
)
from certeasy.serve.service_manager import State, is_waiting  # noqa: E402 - the same

NAME = "certeasy"
SHOWN = "Certeasy ACME server"
TOLD = "Issues certificates of the company's own CA to ACME clients."
STATES: dict[int, str] = {
    State.STOPPED: "stopped",
    State.START_PENDING: "starting",
    State.STOP_PENDING: "stopping",
    State.RUNNING: "running",
}
WAITING = "waiting"
AGAIN = (5_000, 60_000, 60_000)  # milliseconds from a failure to the next start
FORGOTTEN = 86_400  # seconds without a failure after which they are counted anew
LOOK = 0.25
PATIENCE = 60.0
LOG_ON = "SeServiceLogonRight"
OF_THE_SYSTEM = ("localsystem", "nt service\\", "nt authority\\")
_LOG = "look into the Event Log (Application, source Certeasy) and the log file"
_TROUBLE = {
    winerror.ERROR_ACCESS_DENIED: "only an administrator may do this: open the prompt as one",
    winerror.ERROR_SERVICE_EXISTS: "it is installed already: 'certeasy service remove' first",
    winerror.ERROR_SERVICE_DOES_NOT_EXIST: "it is not installed: 'certeasy service install -f"
    " config.yml'",
    winerror.ERROR_SERVICE_MARKED_FOR_DELETE: "it is being removed: close services.msc",
    winerror.ERROR_SERVICE_NOT_ACTIVE: "it is not running",
    winerror.ERROR_SERVICE_CANNOT_ACCEPT_CTRL: "it is starting or stopping, and takes no word"
    " meanwhile: try again",
    winerror.ERROR_INVALID_SERVICE_CONTROL: "it does not serve clients yet, and takes no such word",
    winerror.ERROR_SERVICE_REQUEST_TIMEOUT: "its process did not answer in time: is this system"
    " that busy? Else its Python does not start",
    winerror.ERROR_NONE_MAPPED: "there is no such account",
    winerror.ERROR_INVALID_SERVICE_ACCOUNT: "there is no such account, or its password is wrong",
    winerror.ERROR_SERVICE_LOGON_FAILED: "its account cannot log on as a service, or its password"
    " has changed",
}
_BUSY = (winerror.ERROR_SERVICE_DATABASE_LOCKED, winerror.ERROR_SERVICE_REQUEST_TIMEOUT)
# What is asked for beside the service itself, and can be lacking.
_UNKNOWN = (winerror.ERROR_INVALID_LEVEL, winerror.ERROR_CALL_NOT_IMPLEMENTED)


class ServiceRefused(Exception):
    """Nothing was done, or not all of it; the message says why."""


@contextmanager
def opened(rights: int = win32service.SERVICE_ALL_ACCESS) -> Iterator[int]:
    """Lend a handle of the service."""
    with told(), manager(win32service.SC_MANAGER_CONNECT) as handle:
        service = win32service.OpenService(handle, NAME, rights)
        try:
            yield service
        finally:
            win32service.CloseServiceHandle(service)


@contextmanager
def manager(rights: int) -> Iterator[int]:
    """Lend a handle of the service manager."""
    handle = win32service.OpenSCManager(None, None, rights)
    try:
        yield handle
    finally:
        win32service.CloseServiceHandle(handle)


@contextmanager
def told() -> Iterator[None]:
    """Turn what Windows refuses into a line."""
    try:
        yield
    except pywintypes.error as error:
        raise ServiceRefused(f"the service {NAME}: {_said(error)}") from None


def _said(error: pywintypes.error) -> str:
    return _TROUBLE.get(error.winerror, f"{error.strerror} (Windows error {error.winerror})")


# -- made, and taken away ------------------------------------------------------------------------


def install(
    config_file: Path,
    *,
    home: Path,
    workdir: Path,
    account: str,
    password: str | None,
    longest_stop: timedelta,
) -> list[str]:
    """Make the service, let its account in where it needs to be, and its entries into the Event
    Log. `home` is the folder of everything of ours, which the configuration may be in.

    Return what of it this system does not know, and is left out.
    """
    with told(), manager(win32service.SC_MANAGER_ALL_ACCESS) as handle:
        if is_installed(handle):
            raise ServiceRefused(f"the service {NAME}: {_TROUBLE[winerror.ERROR_SERVICE_EXISTS]}")
        user = _user(account)
        service = win32service.CreateService(
            handle,
            NAME,
            SHOWN,
            win32service.SERVICE_ALL_ACCESS,
            win32service.SERVICE_WIN32_OWN_PROCESS,
            win32service.SERVICE_AUTO_START,
            win32service.SERVICE_ERROR_NORMAL,
            command_line(config_file),
            None,
            0,
            None,
            account,
            password,
        )
        try:
            left_out = configure(service, longest_stop)
            left_out += let_log_on(account)
            let_in(user, config_file, home, workdir)
            eventlog.register()
        except BaseException:  # also Ctrl-C: a service without its rights is not left behind
            win32service.DeleteService(service)
            raise
        finally:
            win32service.CloseServiceHandle(service)
    return left_out


def _user(account: str) -> str:
    try:
        return sid_of(account)
    except OSError as error:
        raise ServiceRefused(f"there is no account {account}: {error.strerror}") from None


def is_installed(handle: int) -> bool:
    """Tell whether there is a service of this name."""
    try:
        found = win32service.OpenService(handle, NAME, win32service.SERVICE_QUERY_STATUS)
    except pywintypes.error as error:
        if error.winerror != winerror.ERROR_SERVICE_DOES_NOT_EXIST:
            raise
        return False
    win32service.CloseServiceHandle(found)
    return True


def command_line(config_file: Path) -> str:
    """Return what the manager runs."""
    where = [str(Path(certeasy.__file__).parents[1]), sysconfig.get_path("purelib")]
    added = "".join(f"site.addsitedir({folder!r});" for folder in dict.fromkeys(where))
    code = f"import sys,site;{added}from certeasy.cli.service_process import main;main(sys.argv[1])"
    base = Path(getattr(sys, "_base_executable", sys.executable))
    program = base if base.is_file() else Path(sys.executable)
    return list2cmdline([str(program), "-I", "-c", code, str(config_file)])


def configure(service: int, longest_stop: timedelta) -> list[str]:
    """Set the description, the delayed start, what happens after a failure, and how long a
    shutdown of the system waits; return what of it this system does not know."""
    restarts = [(win32service.SC_ACTION_RESTART, after) for after in AGAIN]
    actions = {"ResetPeriod": FORGOTTEN, "RebootMsg": "", "Command": "", "Actions": restarts}
    wanted = {
        "description": (win32service.SERVICE_CONFIG_DESCRIPTION, TOLD),
        "delayed start": (win32service.SERVICE_CONFIG_DELAYED_AUTO_START_INFO, True),
        "recovery actions": (win32service.SERVICE_CONFIG_FAILURE_ACTIONS, actions),
        # Also when it ends in order with an exit code that tells of a failure.
        "recovery from errors": (win32service.SERVICE_CONFIG_FAILURE_ACTIONS_FLAG, True),
        "patience of a shutdown": (
            win32service.SERVICE_CONFIG_PRESHUTDOWN_INFO,
            int(longest_stop.total_seconds() * 1000),
        ),
    }
    left_out = []
    for name, (level, value) in wanted.items():
        try:
            win32service.ChangeServiceConfig2(service, level, value)
        except pywintypes.error as error:
            if error.winerror not in _UNKNOWN:
                raise
            left_out.append(name)
    return left_out


def let_log_on(account: str) -> list[str]:
    """Give an account of a domain or of this machine the right to log on as a service, as
    services.msc does; those of the system have it. Return what is left out."""
    if account.lower().startswith(OF_THE_SYSTEM):
        return []
    sid, _, _ = win32security.LookupAccountName(None, account.removeprefix(".\\"))
    wanted = win32security.POLICY_CREATE_ACCOUNT | win32security.POLICY_LOOKUP_NAMES
    policy = win32security.LsaOpenPolicy(None, wanted)
    try:
        win32security.LsaAddAccountRights(policy, sid, (LOG_ON,))
    except pywintypes.error as error:
        if error.winerror not in {*_UNKNOWN, winerror.ERROR_FILE_NOT_FOUND}:
            raise
        return ["the right to log on as a service"]
    finally:
        win32security.LsaClose(policy)
    return []


def let_in(user: str, config_file: Path, home: Path, workdir: Path) -> None:
    """Have the service's account read its configuration and use the work directory, and nobody else
    but the system and administrators.

    What is elsewhere keeps the access list that it has. Raises OSError.
    """
    if home in config_file.parents:
        home.mkdir(parents=True, exist_ok=True)
        keep_to(home, (), [user], owner=ADMINISTRATORS)
    keep_to(config_file, (), [user], owner=ADMINISTRATORS)
    workdir.mkdir(parents=True, exist_ok=True)
    keep_to(workdir, [user], owner=ADMINISTRATORS)
    for path in inside(workdir):
        # What has a list of its own was made by somebody else: by `init`, or for another account.
        if user not in {each.who for each in sddl.allowed(read_text(path))}:
            keep_to(path, [user])


def inside(folder: Path) -> Iterator[Path]:
    """Yield what is in a folder, however deep; whatever only stands for something elsewhere is
    left alone."""
    for path in sorted(folder.iterdir()):
        if path.lstat().st_reparse_tag:
            continue
        yield path
        if path.is_dir():
            yield from inside(path)


def remove() -> None:
    """Stop the service, and take it away. What it has written stays."""
    with opened() as service:
        end(service)
        win32service.DeleteService(service)
    eventlog.unregister()


# -- started, asked, stopped ---------------------------------------------------------------------


def start() -> str:
    """Start the service, unless it runs; return how it is, once clients are served or it waits."""
    with opened() as service:
        if state(service) == "stopped":
            begin(service)
        return wait(service, ("running", WAITING))


def begin(service: int) -> None:
    """Have it started, once the system is less busy than it may be."""
    patience = time.monotonic() + PATIENCE
    while True:
        try:
            win32service.StartService(service, None)
        except pywintypes.error as error:
            if error.winerror not in _BUSY or time.monotonic() > patience:
                raise
            time.sleep(LOOK)
        else:
            return


def stop() -> None:
    """Have the service end in good order; return once it has."""
    with opened() as service:
        end(service)


def end(service: int) -> None:
    """Stop it, unless it is stopped."""
    if state(service) != "stopped":
        if state(service) != "stopping":
            win32service.ControlService(service, win32service.SERVICE_CONTROL_STOP)
        wait(service, ("stopped",))


def reload() -> None:
    """Have the service read its settings again."""
    with opened() as service:
        win32service.ControlService(service, win32service.SERVICE_CONTROL_PARAMCHANGE)


def status() -> str:
    """Return how the service is, in a word. Raises ServiceRefused where it is not installed."""
    with opened(win32service.SERVICE_QUERY_STATUS) as service:
        return state(service)


def state(service: int) -> str:
    """Return how it is."""
    return _named(win32service.QueryServiceStatusEx(service))


def _named(now: dict[str, int]) -> str:
    if is_waiting(now["CurrentState"], now["ControlsAccepted"]):
        return WAITING
    return STATES.get(now["CurrentState"], str(now["CurrentState"]))


def wait(service: int, wanted: tuple[str, ...]) -> str:
    """Wait for a state as long as the service shows by its checkpoints that it goes on."""
    seen, since = -1, time.monotonic()
    while True:
        now = win32service.QueryServiceStatusEx(service)
        found = _named(now)
        if found in wanted:
            return found
        if found == "stopped":
            code = now["ServiceSpecificExitCode"] or now["Win32ExitCode"]
            raise ServiceRefused(f"the service {NAME} ended with code {code}: {_LOG}")
        if now["CheckPoint"] != seen:
            seen, since = now["CheckPoint"], time.monotonic()
        elif time.monotonic() - since > max(now["WaitHint"] / 1000, 30):
            raise ServiceRefused(f"the service {NAME} is {found} and says nothing any more: {_LOG}")
        time.sleep(LOOK)


__all__ = ["ServiceRefused", "install", "reload", "remove", "start", "status", "stop"]
