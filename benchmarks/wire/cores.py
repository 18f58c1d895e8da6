"""Which core is whose: the server under test on one, the load on another, each held there by taskset."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from typing import NamedTuple


class Cores(NamedTuple):
    """None: nothing is held anywhere, since this system has no taskset."""

    server: int | None
    load: int | None

    def told(self) -> str:
        if self.server is None:
            return "held to no core: there is no taskset here"
        if self.server == self.load:
            return f"server and load share core {self.server}, the only one"
        return f"server on core {self.server}, load on core {self.load}"


def cores() -> Cores:
    if shutil.which("taskset") is None or not hasattr(os, "sched_getaffinity"):
        return Cores(None, None)
    mine = sorted(os.sched_getaffinity(0))
    return Cores(mine[0], mine[-1])


def pinned(core: int | None, argv: Sequence[str]) -> list[str]:
    """The same command, held to the core; whatever it starts inherits that."""
    return list(argv) if core is None else [shutil.which("taskset") or "taskset", "-c", str(core), *argv]
