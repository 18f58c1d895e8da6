"""A site that prefetches: sessions, a first layer that holds few, a database that is asked for the rest."""

from __future__ import annotations

import random
from collections import OrderedDict

from permissions.cache.prefetch import Prefetch
from resilience.clock import FakeClock


class Site:
    def __init__(self, *, size: int = 300, fill_s: float = 0.0, pause_s: float = 0.02) -> None:
        self.clock = FakeClock()
        self.resident: OrderedDict[str, None] = OrderedDict()
        self.size = size
        self.fill_s = fill_s
        self.pause_s = pause_s
        self.batches: list[list[str]] = []
        self.error: BaseException | None = None
        self.is_busy = False
        self.woken = 0
        self.misses = 0
        self.prefetch = Prefetch(
            self.fill, is_resident=self.resident.__contains__, wake=self.wake, is_busy=lambda: self.is_busy, clock=self.clock
        )

    def wake(self) -> None:
        self.woken += 1

    def fill(self, refs: list[str]) -> None:
        self.batches.append(refs)
        if self.error is not None:
            raise self.error
        self.clock.advance(self.fill_s)
        for ref in refs:
            self.keep(ref)

    def keep(self, ref: str) -> None:
        self.resident[ref] = None
        self.resident.move_to_end(ref)
        while len(self.resident) > self.size:
            self.resident.popitem(last=False)

    def ask(self, session: object, ref: str) -> bool:
        """Whether the first layer had it."""
        found = ref in self.resident
        self.prefetch.record(session, ref)
        if not found:
            self.misses += 1
            self.prefetch.missed(ref)
        self.keep(ref)
        self.clock.advance(self.pause_s)
        self.prefetch.run()
        return found

    @property
    def loaded(self) -> int:
        return sum(map(len, self.batches))


def teach(site: Site, *walk: str, times: int = 3) -> None:
    for visit in range(times):
        for ref in walk:
            site.prefetch.record(f"teacher{visit}", ref)


def walks(site: Site, number: int, *, flows: int = 200, together: int = 8, seed: int = 1) -> None:
    """`number` visits of four steps each, `together` at a time, step by step in turn."""
    drawn = random.Random(seed)
    live: list[tuple[int, list[str]]] = []
    begun = 0
    while begun < number or live:
        while len(live) < together and begun < number:
            flow = drawn.randrange(flows)
            live.append((begun, [f"doc:{flow}:{step}" for step in range(4)]))
            begun += 1
        session, steps = drawn.choice(live)
        site.ask(session, steps.pop(0))
        live = [(session, steps) for session, steps in live if steps]
