"""Our sides of the comparisons, each in a process of its own (see `benchmarks/child.py`)."""

from __future__ import annotations

from collections.abc import Iterator


def set_up() -> None:
    import django  # noqa: PLC0415 - the environment comes from the parent

    django.setup()


def follow() -> None:
    """What a server process does at its start: the task that keeps warm checks from asking the database."""
    from permissions.cache import follower  # noqa: PLC0415

    follower.start()


def counts() -> dict[str, int]:
    """Decisions of this process so far, by the deepest layer that each reached (`l1`, `redis`, `db`, `live`) and by outcome."""
    from permissions import pdp  # noqa: PLC0415

    return {name: value for name, value in pdp.stats().items() if isinstance(value, int)}


def warm_up(realm: str, questions: Iterator[tuple[str, str]], size: int = 250) -> None:
    """Brings the subjects into this process's memory, in batches."""
    from benchmarks.loading import chunks  # noqa: PLC0415
    from permissions import pdp  # noqa: PLC0415

    for part in chunks(questions, size):
        pdp.check_many(part, realm=realm)
