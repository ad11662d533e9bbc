"""Why a node does not go into service."""


class BootRefused(Exception):
    """The node must not run as things are. One line names both sides and the remedy."""


class WorkdirTaken(BootRefused):
    """Another process has the workdir at the moment."""
