"""What runs beside a leader: the sampler with its alerts, this process's own heartbeat and hub, and the live configuration, whose
maintenance every frame tells."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from controlplane.alerts import counting
from controlplane.alerts.evaluator import Evaluator
from controlplane.live.heartbeat import HEARTBEAT
from controlplane.live.hub import HUB
from controlplane.loop.sampling import Leads, Sampler
from controlplane.services.following import Share


@contextmanager
def live(leader: Leads) -> Iterator[Sampler]:
    evaluator, configuration = Evaluator(), Share()
    sampler = Sampler(leader, evaluator, counts=lambda: dict(counting.counts()))
    HEARTBEAT.start("loop")
    HUB.start()
    sampler.start()
    configuration.start()
    try:
        yield sampler
    finally:
        sampler.stop()
        evaluator.close()
        HUB.stop()
        HEARTBEAT.stop()
        configuration.stop()
