"""The process that Windows' service manager starts: the server, and the manager's protocol.

Stop and shutdown take the road of SIGTERM, also while the server is still starting; a changed
parameter (`certeasy service reload`) takes the one of SIGHUP.

Warnings, errors, start and end go into the Event Log, all else into the log file. Windows only, by
pywin32. Run under wine, not on Windows itself yet.
"""

import logging
import os
import sys
import threading
import time
from functools import partial
from pathlib import Path

assert sys.platform == "win32"

import pywintypes  # noqa: E402 - not everywhere
import servicemanager  # noqa: E402 - the same
import win32service  # noqa: E402 - the same
import winerror  # noqa: E402 - the same

from certeasy import log  # noqa: E402 - the same
from certeasy.serve.service_manager import EVERY, ServiceManager, Status  # noqa: E402 - the same
from certeasy.serve.stopping import ReloadRequest, StopRequest  # noqa: E402 - the same

FAILED = 1  # the exit code that `certeasy serve` has
PRESHUTDOWN = 0xF  # SERVICE_CONTROL_PRESHUTDOWN

logger = log.logger("main")
_STOPS = {
    win32service.SERVICE_CONTROL_STOP: "the service manager's stop",
    win32service.SERVICE_CONTROL_SHUTDOWN: "the system's shutdown",
    PRESHUTDOWN: "the system's shutdown",
}


class Service:
    """One run of the service; `servicemanager` makes it and calls `SvcRun`."""

    config_file = Path()

    def __init__(self, arguments: list[str]) -> None:
        """Register what the manager calls."""
        self._stop, self._again = StopRequest(), ReloadRequest()
        self._over = threading.Event()
        handle = servicemanager.RegisterServiceCtrlHandler(arguments[0], self._control, True)
        self._manager = ServiceManager(partial(_tell, handle), time.monotonic())
        threading.Thread(target=self._turns, name="checkpoints", daemon=True).start()

    def _control(self, control: int, _event: int, _data: object) -> int:
        """Do what the manager asks for; it waits for the answer."""
        if control == win32service.SERVICE_CONTROL_INTERROGATE:
            self._manager.again()
        elif control == win32service.SERVICE_CONTROL_PARAMCHANGE:
            self._again.ask()
        elif control in _STOPS:
            self._manager.stopping()
            self._stop.ask(_STOPS[control])
        else:
            return int(winerror.ERROR_CALL_NOT_IMPLEMENTED)
        return 0

    def _turns(self) -> None:
        while not self._over.wait(EVERY):
            if not self._manager.turn(time.monotonic()):
                logger.error("the stop took too long, and was cut off; the next start mends that")
                self._manager.stopped()
                logging.shutdown()
                os._exit(FAILED)  # what hangs cannot be asked any more

    def SvcRun(self) -> None:  # noqa: N802 - the library's name
        """Serve until asked to stop."""
        code = FAILED
        try:
            # Until it is known where the log goes, the Event Log is what there is.
            log.set_up("info", "text", "eventlog")
            from certeasy.cli.service_run import serve  # noqa: PLC0415 - the manager is answered

            code = serve(self.config_file, self._manager, self._stop, self._again)
        except BaseException:
            # Also SystemExit: what leaves this method is reported to a console that nobody has.
            logger.exception("the service met something it does not know")
        finally:
            self._over.set()
            self._manager.stopped(code)
            if code:
                # Whoever has called this would tell the manager of an end without a failure.
                logging.shutdown()
                os._exit(code)


def _tell(handle: int, status: Status) -> None:
    own = winerror.ERROR_SERVICE_SPECIFIC_ERROR if status.code else 0
    told = (
        win32service.SERVICE_WIN32_OWN_PROCESS,
        int(status.state),
        status.accepted,
        own,
        status.code,
        status.checkpoint,
        status.hint,
    )
    try:
        win32service.SetServiceStatus(handle, told)
    except pywintypes.error as error:  # clients are served all the same
        logger.warning("the service manager was not told %s: %s", status.state.name, error)


def main(config_file: str) -> None:
    """Serve the service manager, which has started this process."""
    if sys.stderr is None:
        # A service has no terminal; what is told there all the same goes nowhere.
        sys.stdout = sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - until the end
    Service.config_file = Path(config_file)
    servicemanager.Initialize()
    servicemanager.PrepareToHostSingle(Service)
    try:
        servicemanager.StartServiceCtrlDispatcher()
    except pywintypes.error as error:
        if error.winerror != winerror.ERROR_FAILED_SERVICE_CONTROLLER_CONNECT:
            raise
        sys.exit("this is for Windows' service manager to run: 'certeasy service start'")
