"""What was: frames of the last quarter of an hour from the store, means of minutes, hours and days from rows."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from controlplane.live import store as stores
from controlplane.live.port import KEPT_FRAMES, LiveError, LiveStore
from controlplane.models import FrameMean

MINUTE_S: Final = 60
HOUR_S: Final = 3_600
DAY_S: Final = 86_400
# Step in seconds → how long its means are kept.
KEPT_S: Final[Mapping[int, int]] = {MINUTE_S: 30 * DAY_S, HOUR_S: 366 * DAY_S, DAY_S: 366 * DAY_S}
# Means of means: step → the finer step that they are made of.
MADE_OF: Final[Mapping[int, int]] = {HOUR_S: MINUTE_S, DAY_S: HOUR_S}
# In a frame, and no figure.
NO_FIGURES: Final = frozenset({"v", "seq", "at", "fence", "alerts_at"})
_DECODE: Final = msgspec.json.Decoder().decode

Frame = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Window:
    """`step_s` 1: frames themselves."""

    span_s: int
    step_s: int


WINDOWS: Final[Mapping[str, Window]] = {
    "live": Window(120, 1),
    "15m": Window(900, 1),
    "1h": Window(HOUR_S, MINUTE_S),
    "24h": Window(DAY_S, MINUTE_S),
    "30d": Window(30 * DAY_S, HOUR_S),
    "1y": Window(366 * DAY_S, DAY_S),
}


class Recent:
    """The frames that this process itself made: who leads need not read back what it has just sent."""

    def __init__(self) -> None:
        self._frames: deque[Frame] = deque(maxlen=KEPT_FRAMES)

    def begin(self, frames: Iterable[Frame]) -> None:
        self._frames = deque(frames, maxlen=KEPT_FRAMES)

    def add(self, frame: Frame) -> None:
        self._frames.append(frame)

    def end(self) -> None:
        self._frames.clear()

    def since(self, at: float) -> list[Frame]:
        return [frame for frame in list(self._frames) if frame["at"] >= at]

    def __bool__(self) -> bool:
        return bool(self._frames)


RECENT: Final = Recent()


def frames(since_s: float) -> list[Frame]:
    """Of the last so many seconds, oldest first. Raises LiveError."""
    if RECENT:
        return RECENT.since(time.time() - since_s)
    return stored(since_s)


def stored(since_s: float, store: LiveStore | None = None) -> list[Frame]:
    """As another leader left them, too. Raises LiveError."""
    found = []
    for body in (store or stores.current()).frames(since_s):
        try:
            frame = _DECODE(body)
        except msgspec.DecodeError:
            continue
        if isinstance(frame, dict) and isinstance(frame.get("at"), int | float):
            found.append(frame)
    # By their time: two leaders may have overlapped for a moment.
    return sorted(found, key=lambda frame: frame["at"])


def means(seconds: float) -> dict[str, float]:
    """Of every figure over the last seconds, as far as frames reach; a figure that nobody knew has none. Raises LiveError."""
    return mean_of(frames(min(max(1.0, float(seconds)), KEPT_FRAMES)))


def mean_of(found: Sequence[Frame]) -> dict[str, float]:
    sums: dict[str, list[float]] = {}
    for frame in found:
        for name, value in frame.items():
            if name not in NO_FIGURES and isinstance(value, int | float) and not isinstance(value, bool):
                held = sums.setdefault(name, [0.0, 0])
                held[0] += value
                held[1] += 1
    return {name: shortened(total / number) for name, (total, number) in sums.items()}


def shortened(value: float) -> float:
    """Six digits: more would be noise, and make a frame long."""
    return float(f"{value:.6g}")


def window(name: str, figures: Iterable[str] = ()) -> dict[str, Any]:
    """`{"step_s", "at": [...], <figure>: [...]}`, oldest first, None where it was not known; all figures where none is named.

    Raises ValueError for a window that there is not, and LiveError.
    """
    asked = WINDOWS.get(name)
    if asked is None:
        raise ValueError(f"there is no window {name[:20]!r}; there are {', '.join(WINDOWS)}")
    if asked.step_s == 1:
        found = [(frame["at"], frame) for frame in frames(asked.span_s)]
    else:
        since = int(time.time()) - asked.span_s
        rows = FrameMean.objects.filter(step_s=asked.step_s, at__gte=since - asked.step_s).order_by("at")
        found = list(rows.values_list("at", "figures"))
        found += _tail(asked.step_s, found[-1][0] + asked.step_s if found else since)
    wanted = list(figures) or sorted({name for _, frame in found for name in frame if name not in NO_FIGURES})
    columns = {name: [_number(frame.get(name)) for _, frame in found] for name in wanted}
    return {"step_s": asked.step_s, "at": [at for at, _ in found], **columns}


def _tail(step_s: int, since: float) -> list[tuple[float, Frame]]:
    """What is not in a row of its own yet: the last minutes; of coarser steps the finer means and these."""
    if step_s == MINUTE_S:
        try:
            recent = frames(KEPT_FRAMES)
        except LiveError:  # the rows are better than nothing
            return []
        return [(at, mean_of(held)) for at, held in by_step(recent, MINUTE_S).items() if at >= since]
    finer = MADE_OF[step_s]
    rows = FrameMean.objects.filter(step_s=finer, at__gte=since).order_by("at").values_list("at", "figures")
    held: list[Frame] = [{**figures, "at": at} for at, figures in rows]
    held += [{**frame, "at": at} for at, frame in _tail(finer, held[-1]["at"] + finer if held else since)]
    return [(at, mean_of(of)) for at, of in by_step(held, step_s).items() if at >= since - step_s]


def by_step(found: Iterable[Frame], step_s: int) -> dict[int, list[Frame]]:
    """By the beginning of the step that they fall into, in order."""
    groups: dict[int, list[Frame]] = {}
    for frame in found:
        groups.setdefault(int(frame["at"]) // step_s * step_s, []).append(frame)
    return dict(sorted(groups.items()))


def _number(value: object) -> float | None:
    return None if isinstance(value, bool) or not isinstance(value, int | float) else value


# Roll-ups: the leader's, under its fence, a step at a time.


def roll_up(now: float) -> int:
    """Writes the means of every step that has ended and has none yet, and drops what is too old. In the leader's transaction.

    How many it wrote. Raises LiveError.
    """
    made = _minutes(now)
    for step_s, finer in MADE_OF.items():
        made += _coarser(step_s, finer, now)
    for step_s, kept_s in KEPT_S.items():
        FrameMean.objects.filter(step_s=step_s, at__lt=int(now) - kept_s).delete()
    return made


def _minutes(now: float) -> int:
    last = FrameMean.objects.filter(step_s=MINUTE_S).order_by("-at").values_list("at", flat=True).first()
    groups = by_step(frames(KEPT_FRAMES), MINUTE_S)
    # The first of them may have lost its beginning; a clock that was set back must not end the minutes for a year.
    after = last if last is not None and last <= now else -1
    rows = [
        FrameMean(step_s=MINUTE_S, at=at, figures=mean_of(held))
        for at, held in groups.items()
        if at > after and at + MINUTE_S <= now
    ]
    FrameMean.objects.bulk_create(rows, ignore_conflicts=True)
    return len(rows)


def _coarser(step_s: int, finer: int, now: float) -> int:
    rows = FrameMean.objects.filter(step_s=step_s, at__lte=int(now)).order_by("-at")
    last = rows.values_list("at", flat=True).first()
    since = int(now) - KEPT_S[finer] if last is None else last + step_s
    until = int(now) // step_s * step_s
    if since >= until:
        return 0
    held = FrameMean.objects.filter(step_s=finer, at__gte=since, at__lt=until).order_by("at").values_list("at", "figures")
    groups = by_step([{**figures, "at": at} for at, figures in held], step_s)
    made = [FrameMean(step_s=step_s, at=at, figures=mean_of(found)) for at, found in groups.items()]
    FrameMean.objects.bulk_create(made, ignore_conflicts=True)
    return len(made)
