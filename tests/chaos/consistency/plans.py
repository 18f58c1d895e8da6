"""The runs of the proof: what `make test` plays in half a minute, what `make chaos` plays for as long as it is told."""

from __future__ import annotations

import dataclasses
from typing import Final

from tests.chaos.consistency import faults
from tests.chaos.consistency.harness import Plan

EVERYTHING: Final = Plan(faults=faults.EVERYTHING, inner_faults=True, forks=True, tasks=2)
SHORT: Final = dataclasses.replace(EVERYTHING, seconds=10, haste=3)

# Beside the run with every fault on. Redis that is not there is no fault of these: freezing and killing processes is.
_ROUGH: Final = dataclasses.replace(EVERYTHING, faults=faults.OF_PROCESSES | {"terminate backend", "restart crash"}, haste=2)
VARIANTS: Final = {
    "no Redis at all": dataclasses.replace(_ROUGH, redis="none"),
    "Redis named and absent, then there": dataclasses.replace(_ROUGH, redis="late", faults=_ROUGH.faults | {"late valkey"}),
    "a cluster whose masters are killed": dataclasses.replace(_ROUGH, redis="cluster", faults=_ROUGH.faults | {"kill master"}),
    "nothing goes wrong": Plan(tasks=2),
}

# One process writes, the others read: a writer's own process knows too much for some faults to show.
_APART: Final = Plan(seconds=5, apart=True, readers=2, write_pause_s=0.002)
_DEAF: Final = dataclasses.replace(_APART, token_share=0.0, full_share=0.0)
_UNSEEN: Final = frozenset({"lose commits unseen"})
MUTANTS: Final = {
    "no_invalidation": _APART,
    "l2_trusted": dataclasses.replace(_APART, faults=frozenset({"resurrect", "kill process"}), haste=4),
    "token_ignored": _APART,
    "no_bound": _DEAF,
    "expiry_ignored": _APART,
    "teams_forgotten": _APART,
    "fast_kept": _APART,
    "epoch_ignored": dataclasses.replace(_APART, seconds=10, faults=_UNSEEN, haste=20),
    "stamp_unchecked": dataclasses.replace(_APART, seconds=10, faults=_UNSEEN, haste=20),
    "stored_unproven": _APART,
    "torn_table": _APART,
}
# Seconds that a mutant is given in one run, before the next one of another seed.
MUTANT_S: Final = 20.0
# These show only if two things meet in one instant: the state machine or a scene of `test_sync_points.py` is sure to see them,
# the harness may.
RARE: Final = frozenset({"torn_table", "stored_unproven", "epoch_ignored", "stamp_unchecked"})
