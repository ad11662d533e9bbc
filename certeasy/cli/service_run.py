"""What the process of a Windows service does between its start and its end: the server.

It is loaded once the service manager has been answered, which gives a process seconds for that,
while all that a server needs may take longer to be read on a machine that is itself starting.
"""

from functools import partial
from pathlib import Path

from certeasy import config, log
from certeasy.cli import preflight
from certeasy.cli.serve import announce, reread
from certeasy.cluster.boot import BootRefused
from certeasy.serve.contexts import UnusableCertificate
from certeasy.serve.logs import begin_of_a_service
from certeasy.serve.node import run
from certeasy.serve.service_manager import ServiceManager
from certeasy.serve.stopping import ReloadRequest, StopRequest, longest_stop
from certeasy.tls.own import NoCertificate

FAILED = 1

logger = log.logger("main")


def serve(
    config_file: Path, manager: ServiceManager, stop: StopRequest, again: ReloadRequest
) -> int:
    """Serve until asked to stop; return the exit code that `certeasy serve` has.

    Whatever ends it is in the log.
    """
    try:
        return _serve(config_file, manager, stop, again)
    except (BootRefused, NoCertificate, UnusableCertificate, OSError) as error:
        logger.error("%s", error)
    except config.ConfigurationError as error:
        for mistake in error.mistakes:
            logger.error("%s", mistake)
    except Exception:
        # Of whatever kind: a service has no console, what the log does not say nobody hears.
        logger.exception("the service met something it does not know")
    return FAILED


def _serve(
    config_file: Path, manager: ServiceManager, stop: StopRequest, again: ReloadRequest
) -> int:
    settings, page = config.read_page(config_file)
    preflight.check(settings, page)
    page.raise_if_wrong()
    manager.allow(longest_stop(settings))
    begin_of_a_service(settings)
    for warning in config.warnings(settings):
        logger.warning("%s", warning)
    return run(
        settings,
        stop,
        announce,
        reloads=(again, partial(reread, config_file)),
        supervisor=manager,
        begin_log=begin_of_a_service,
    )
