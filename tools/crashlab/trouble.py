"""What ends an experiment early."""


class NotHeld(Exception):
    """The server broke a promise. `str()` says which, and where to look."""


class LeftOut(Exception):
    """This machine cannot do the experiment; `str()` is the reason."""
