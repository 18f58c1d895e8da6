"""Jobs as the leader sees to them: what has lost its worker is begun again or given up; what ended long ago goes."""

from __future__ import annotations

from dataclasses import dataclass

from controlplane.jobs import reclaim
from controlplane.jobs.runner import LOST_S
from controlplane.loop.lease import Act, Term


@dataclass(slots=True)
class Reclaim:
    """`lost_s`: seconds without a heartbeat."""

    lost_s: float = LOST_S
    name: str = "reclaim"
    interval_s: float = 5.0

    def look(self, term: Term) -> bool:
        return reclaim.anything_silent(self.lost_s)

    def step(self, act: Act) -> bool:
        return reclaim.reclaim(self.lost_s, act.told)


@dataclass(slots=True)
class JobRetention:
    keep_s: float = reclaim.KEEP_S
    name: str = "job_retention"
    interval_s: float = 300.0

    def look(self, term: Term) -> bool:
        return reclaim.anything_old(self.keep_s)

    def step(self, act: Act) -> bool:
        return reclaim.forget(self.keep_s)
