"""A file of figures for every process, which outlives the process that wrote it.

1. A process takes the first slot whose lock is free and keeps it for life. The kernel frees the lock of a process that dies, so
   the next one takes the same slot: files do not pile up, however often workers are replaced.
2. Whoever takes a slot adds what its last holder had counted to its own: sums over all slots never go backwards. Lost is what
   a killed process counted after its last write.
3. A gauge counts while its slot is held. Who looks at the locks and who takes one exclude each other by a lock on the folder,
   or a look would make a free slot seem taken.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from resilience.telemetry import Sample

# More processes than a host ever runs of us: `serve` takes at most 64 workers.
MOST: Final = 256
VERSION: Final = 1
_LOCK: Final = "folder.lock"

Series = tuple[str, tuple[str, ...]]


class Histogram(msgspec.Struct, array_like=True):
    """`counts`: observations by bucket, each alone and not with those below it; the last one is what lies above all bounds."""

    name: str
    labels: tuple[str, ...]
    counts: list[float]
    total: float


class Page(msgspec.Struct):
    """What one slot's file says. `looked`: figures of what all share, by who looked for all, and when (boot-time seconds)."""

    version: int
    kind: str
    pid: int
    written_s: float
    counters: list[tuple[str, tuple[str, ...], float]]
    gauges: list[tuple[str, tuple[str, ...], float]]
    histograms: list[Histogram] = []
    looked: list[tuple[str, tuple[str, ...], float]] = []
    looked_s: float = 0.0


@dataclass(slots=True)
class Figures:
    """What a process counts: since its start, and as it is now."""

    counters: dict[Series, float] = field(default_factory=dict)
    gauges: dict[Series, float] = field(default_factory=dict)
    histograms: dict[Series, tuple[list[float], float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Read:
    """`is_held`: whether its process lives."""

    slot: int
    page: Page
    is_held: bool


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(Page)


def _data(folder: Path, number: int) -> Path:
    return folder / f"slot-{number}.figures"


def _held_by(folder: Path, number: int) -> Path:
    return folder / f"slot-{number}.lock"


@contextlib.contextmanager
def _folder(folder: Path) -> Iterator[None]:
    """Held for moments only: no file is written under it."""
    with (folder / _LOCK).open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _is_held(folder: Path, number: int) -> bool:
    try:
        descriptor = os.open(_held_by(folder, number), os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)


def _numbers(folder: Path) -> list[int]:
    names = (path.name.removeprefix("slot-").removesuffix(".figures") for path in folder.glob("slot-*.figures"))
    return sorted(int(name) for name in names if name.isdigit())


def _page(folder: Path, number: int) -> Page | None:
    """None for a file that is gone, or of another version: its counters start anew then, as they do with a new program."""
    try:
        found = _decoder.decode(_data(folder, number).read_bytes())
    except (FileNotFoundError, msgspec.MsgspecError):
        return None
    return found if found.version == VERSION else None


def wipe(folder: Path) -> bool:
    """Forgets every figure, for whoever starts the processes of this folder. False: one lives already, and all stays."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _folder(folder):
        if any(_is_held(folder, number) for number in _numbers(folder)):
            return False
        for path in folder.glob("slot-*"):
            path.unlink(missing_ok=True)
        return True


def read(folder: Path) -> list[Read]:
    """Every slot. Raises OSError."""
    if not folder.is_dir():
        return []
    with _folder(folder):
        held = {number: _is_held(folder, number) for number in _numbers(folder)}
    pages = {number: _page(folder, number) for number in held}
    return [Read(number, page, held[number]) for number, page in pages.items() if page is not None]


class Slot:
    """The slot of this process. For several threads."""

    def __init__(self, folder: Path, kind: str, clock: Callable[[], float] = time.monotonic) -> None:
        """Raises OSError where the folder cannot be written, or every slot is taken."""
        self.folder = folder
        self.kind = kind
        self._clock = clock
        self._lock = threading.Lock()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _folder(folder):
            self.number, self._descriptor = self._take()
            before = _page(folder, self.number)
        self._counters: dict[Series, float] = {}
        self._histograms: dict[Series, tuple[list[float], float]] = {}
        if before is not None:
            self._counters = {(name, tuple(labels)): value for name, labels, value in before.counters}
            self._histograms = {(each.name, tuple(each.labels)): (each.counts, each.total) for each in before.histograms}
        self._told = Figures()

    def _take(self) -> tuple[int, int]:
        for number in range(MOST):
            descriptor = os.open(_held_by(self.folder, number), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
            else:
                return number, descriptor
        raise OSError(f"all {MOST} slots of {self.folder} are taken")

    def write(self, figures: Figures, looked: Mapping[Series, float] | None = None, looked_s: float = 0.0) -> None:
        """Replaces the file as a whole: a reader meets the old one or the new one. Raises OSError."""
        with self._lock:
            if self._descriptor < 0:
                return
            page = Page(
                version=VERSION,
                kind=self.kind,
                pid=os.getpid(),
                written_s=self._clock(),
                counters=[(*series, value) for series, value in self._risen(figures).items()],
                gauges=[(*series, value) for series, value in figures.gauges.items()],
                histograms=[Histogram(*series, *value) for series, value in self._grown(figures).items()],
                looked=[(*series, value) for series, value in (looked or {}).items()],
                looked_s=looked_s,
            )
            target = _data(self.folder, self.number)
            fresh = target.with_suffix(".new")
            fresh.write_bytes(_encoder.encode(page))
            fresh.replace(target)

    def _risen(self, figures: Figures) -> dict[Series, float]:
        """A source that is read while it hands its counts over may tell too little for a moment: a counter waits for it."""
        told, before = self._told.counters, self._counters
        for series, value in figures.counters.items():
            told[series] = max(value, told.get(series, 0))
        return {series: before.get(series, 0) + told.get(series, 0) for series in {**before, **told}}

    def _grown(self, figures: Figures) -> dict[Series, tuple[list[float], float]]:
        self._told.histograms.update(figures.histograms)
        return added_up([self._histograms, self._told.histograms])

    def close(self) -> None:
        """Frees the slot; its counts stay for the next holder."""
        with self._lock:
            descriptor, self._descriptor = self._descriptor, -1
            if descriptor >= 0:
                os.close(descriptor)

    def forget(self) -> None:
        """In a forked child: the slot is the parent's. Closing a copy of its descriptor does not free it."""
        self._lock = threading.Lock()
        self.close()


def added_up(parts: list[dict[Series, tuple[list[float], float]]]) -> dict[Series, tuple[list[float], float]]:
    """Histograms bucket by bucket. Of two with other bounds, as two releases may have, the later one stays."""
    found: dict[Series, tuple[list[float], float]] = {}
    for part in parts:
        for series, (counts, total) in part.items():
            have = found.get(series)
            if have is None or len(have[0]) != len(counts):
                found[series] = (list(counts), total)
            else:
                found[series] = ([a + b for a, b in zip(have[0], counts, strict=True)], have[1] + total)
    return found


def samples_of(rows: list[tuple[str, tuple[str, ...], float]]) -> Iterator[Sample]:
    for name, labels, value in rows:
        yield name, tuple(labels), value
