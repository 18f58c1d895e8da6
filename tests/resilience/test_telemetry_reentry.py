"""Counting from where it must not wait: inside a collection of figures, as a finalizer does."""

from __future__ import annotations

import gc
import threading
import weakref

import pytest

from resilience import telemetry


class Cycle:
    """Lives until the garbage collector comes by."""

    def __init__(self) -> None:
        self.itself = self


def test_a_finalizer_may_count_and_unsubscribe_while_figures_are_collected(monkeypatch: pytest.MonkeyPatch) -> None:
    class Collecting(dict[tuple[str, tuple[str, ...]], float]):
        """A garbage collection at the worst moment: under the lock."""

        def copy(self) -> Collecting:
            gc.collect()
            return Collecting(self)

        def items(self):
            gc.collect()
            return super().items()

    monkeypatch.setattr(telemetry, "_values", Collecting())
    remove = telemetry.add_source(tuple)
    doomed = Cycle()
    weakref.finalize(doomed, remove)
    weakref.finalize(doomed, telemetry.count, "resilience_blocking_calls_total")
    del doomed
    thread = threading.Thread(target=telemetry.collect, daemon=True)
    thread.start()
    thread.join(timeout=20)
    assert not thread.is_alive(), "it waits for a lock that it holds itself"
    assert telemetry.collect()["resilience_blocking_calls_total"][()] == 1
