"""The banners of every page: maintenance, a store that is away, nobody who leads, a database that does not answer.

They are read from this process's memory alone: a page that tells of trouble must not wait for what is in it.
"""

from __future__ import annotations

import time
from typing import Any, Final

from django.conf import settings
from django.utils.translation import gettext as _

from controlplane.live.hub import HUB
from resilience.maintenance import SWITCH

# A term of the leader is 10 s, and another takes over within 15: before that nobody need be told. A server that has just started
# gives its loop the same time.
NO_LEADER_S: Final = 15.0
_began_s: Final = time.monotonic()


def banners() -> list[dict[str, Any]]:
    """Every banner there is, with whether it is up: the script of a page that moves raises and lowers them."""
    frame = HUB.frame() or {}
    age = HUB.frame_age_s()
    is_recent = age is not None and age <= NO_LEADER_S
    switch = SWITCH.on
    return [
        {
            "name": "maintenance",
            "state": "warn",
            "up": switch is not None,
            "text": _("Maintenance is on: what is not exempt is refused."),
            "more": switch.reason if switch is not None else "",
        },
        {
            "name": "store",
            "state": "bad",
            "up": bool(settings.REDIS_URL) and is_recent and is_away(frame.get("storage_up")),
            "text": _("The shared store does not answer: limits, breakers and locks count in each process's own memory."),
        },
        {
            "name": "database",
            "state": "bad",
            "up": is_recent and is_away(frame.get("database_up")),
            "text": _("The database does not answer: decisions are given from memory, and nothing can be changed."),
        },
        {
            "name": "leader",
            "state": "bad",
            "up": HUB.is_running and ((time.monotonic() - _began_s if age is None else age) > NO_LEADER_S),
            "text": _("Nobody leads the control loop: figures, alerts and clean-up rest. Is runcontrol running?"),
        },
    ]


def is_away(value: Any) -> bool:
    """Unknown is not away."""
    return value is not None and not value
