"""Live: what every process tells of itself, one frame a second for the whole site, and events as they happen."""

from __future__ import annotations

import time

import msgspec


def means(seconds: float) -> dict[str, float]:
    """Of every figure of the frames over the last seconds. Raises LiveError."""
    from controlplane.live import history  # noqa: PLC0415 - it needs the models, which this package's importers may not have yet

    return history.means(seconds)


def watch(subject: str, realm: str, until: float | None = None) -> float:
    """Shows every decision of a subject as an event, in all processes, for ten minutes at most; until when.

    Raises ValueError for what cannot be watched, and LiveError.
    """
    from controlplane.live import decisions, port, store  # noqa: PLC0415 - as above

    now = time.time()
    wanted = decisions.checked_watch(subject, realm, now + decisions.LONGEST_S if until is None else until, now)
    decisions.TAP.watch(wanted)
    store.current().publish(port.WATCH, msgspec.json.encode(wanted))
    return wanted.until
