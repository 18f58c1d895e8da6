"""What the loop does, in a table: a new task is a line here."""

from __future__ import annotations

from controlplane.loop.expiry import Expiry
from controlplane.loop.forgetting import Forgetting
from controlplane.loop.jobs import JobRetention, Reclaim
from controlplane.loop.leader import Task
from controlplane.loop.pruning import Pruning
from controlplane.loop.rollups import RollUps


def every_task() -> list[Task]:
    """Fresh ones: a task keeps its place in a sweep, and belongs to one candidate."""
    return [Expiry(), RollUps(), Forgetting(), Pruning(), Reclaim(), JobRetention()]
