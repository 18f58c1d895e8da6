"""A worker in a process of its own, beside a server, which starts another where it dies. Nothing of Django is imported here: the
child is a fresh interpreter that sets Django up first.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.context import SpawnProcess
from typing import Final

log = logging.getLogger("controlplane.jobs")

# Seconds that a run has to stop in, and some more for the process.
END_S: Final = 7.0
# Seconds from the death of the process to its successor, doubled with each death in a row.
FIRST_WAIT_S: Final = 1.0
MOST_WAIT_S: Final = 60.0
# One that lived as long did not die of its start.
STEADY_S: Final = 60.0

_spawn: Final = multiprocessing.get_context("spawn")


def _work(within: tuple[str, ...]) -> None:
    """The child. Ctrl-C reaches the whole group; it is the parent who says when to end, or whose death does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import django  # noqa: PLC0415 - a fresh interpreter

    django.setup()
    from django.utils.module_loading import import_string  # noqa: PLC0415 - they need the apps

    from controlplane.jobs import worker  # noqa: PLC0415

    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent", daemon=True).start()
    with contextlib.ExitStack() as around:
        for name in within:
            around.enter_context(import_string(name)())
        worker.serve_until_told()


class _Keeper:
    """Holds one worker process, and starts another where it dies."""

    def __init__(self, within: tuple[str, ...]) -> None:
        self._within = within
        self.process: SpawnProcess | None = None
        self.ending = threading.Event()

    def run(self) -> None:
        wait_s = FIRST_WAIT_S
        while not self.ending.is_set():
            self.process = process = _spawn.Process(target=_work, args=(self._within,), name="jobs", daemon=False)
            process.start()
            process.join(STEADY_S)
            if process.exitcode is None:
                wait_s = FIRST_WAIT_S
                process.join()
            if not self.ending.is_set():
                log.error("the jobs' process %s ended with %s; another follows in %.0f s", process.pid, process.exitcode, wait_s)
                self.ending.wait(wait_s)
                wait_s = min(MOST_WAIT_S, wait_s * 2)

    def end(self) -> None:
        self.ending.set()
        process = self.process
        if process is None or process.pid is None:
            return
        process.terminate()
        process.join(END_S)
        if process.exitcode is None:
            log.warning("the jobs' process %s did not end in time and is killed: its job is begun again elsewhere", process.pid)
            process.kill()
            process.join()


@contextmanager
def beside(*within: str) -> Iterator[None]:
    """While the block runs. It never outlives this process, however that ends. `within`: dotted names of context managers that
    the child works in."""
    keeper = _Keeper(within)
    thread = threading.Thread(target=keeper.run, name="jobs-keeper", daemon=True)
    thread.start()
    try:
        yield
    finally:
        keeper.end()
        thread.join(END_S)
