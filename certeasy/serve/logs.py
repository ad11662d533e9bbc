"""The server's log, begun as the settings say: at a start, and when they are read again."""

from collections.abc import Callable

from certeasy import log
from certeasy.cluster.files import private_folder
from certeasy.settings import Settings

Begin = Callable[[Settings], None]
"""Sends the log where the settings say. Raises OSError."""
OF_A_SERVICE = "certeasy.log"


def begin(settings: Settings) -> None:
    """Log as the settings say."""
    chosen = settings.logs
    log.set_up(
        chosen.level,
        chosen.format,
        chosen.output,
        chosen.file,
        services=dict(chosen.services.items()),
        tags=chosen.tags,
        rotate=_rotation(settings),
    )


def begin_of_a_service(settings: Settings) -> None:
    """Log as a service of Windows does, which has no terminal: into a file, of the work directory
    where the settings name none, and what an administrator has to see into the Event Log too."""
    chosen = settings.logs
    if chosen.output == "eventlog":
        begin(settings)
        return
    private_folder(settings.workdir)
    in_a_file = chosen.output == "file" and chosen.file is not None
    log.set_up(
        chosen.level,
        chosen.format,
        "file",
        chosen.file if in_a_file else settings.workdir / OF_A_SERVICE,
        services=dict(chosen.services.items()),
        tags=chosen.tags,
        rotate=_rotation(settings),
        beside=[log.event_log(chosen.tags)],
    )


def _rotation(settings: Settings) -> log.Rotation:
    chosen = settings.logs.rotate
    return log.Rotation(chosen.max_size_mb << 20, chosen.max_backups)
