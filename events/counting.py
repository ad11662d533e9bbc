"""How many, as people say it: 1 line, 2 lines; once, 2 times."""


def counted(count: int, one: str, many: str = "") -> str:
    """Return a number with what it counts; of more than one `many`, which is `one` with an s."""
    return f"{count} {one if count == 1 else many or one + 's'}"


def times(count: int) -> str:
    """Return how often: once, or so many times."""
    return "once" if count == 1 else f"{count} times"
