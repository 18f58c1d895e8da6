"""The maintenance switch where its truth is: a version of the configuration, so that it has history, author and reason."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

from controlplane.live.hub import HUB
from controlplane.live.port import NOTICE, LiveError
from controlplane.models import ConfigRevision
from controlplane.services.config import Changed, active, values_of, write_section
from controlplane.services.rights import MAINTENANCE_PAGE, OPERATE, VIEW, require
from permissions.errors import Invalid, Problem
from permissions.writing import SYSTEM, Actor
from resilience import maintenance, params
from resilience.errors import ConfigInvalid
from resilience.maintenance import Status

log = logging.getLogger(__name__)

SECTION: Final = maintenance.SECTION


def maintenance_status(*, actor: Actor) -> tuple[Status, ConfigRevision | None]:
    """What the version in force says. One whose end has passed is off."""
    require(actor, VIEW, MAINTENANCE_PAGE)
    revision = active()
    return maintenance.SWITCH.effective(params.validate(SECTION, values_of(SECTION, revision))), revision


def maintenance_set(
    *, actor: Actor, values: object, expected: int | None = None, reason: str = "", request_id: str = ""
) -> Changed:
    """Replaces the switch whole: what `values` leaves out is as by default. Raises Forbidden, Invalid, Stale."""
    require(actor, OPERATE, MAINTENANCE_PAGE)
    wrong = params.problems(SECTION, values)
    if isinstance(values, Mapping) and "mode" not in values:
        wrong.insert(0, (f"{SECTION}.mode", "is missing"))
    if wrong:
        raise Invalid([Problem(path, told) for path, told in wrong])
    try:
        typed = maintenance.wanted(values)
    except ConfigInvalid as error:
        raise Invalid([Problem(error.path, error.problem)]) from error
    return write_section(
        actor=actor,
        section=SECTION,
        typed=params.plain(typed),
        expected=expected,
        reason=reason or typed.get("reason", ""),
        request_id=request_id,
        action="maintenance_off" if typed.get("mode", "off") == "off" else "maintenance_on",
        before_it_is_told=lambda: _tell_pages(maintenance.status_of(typed)),
    )


def notice(status: Status | None) -> dict[str, Any]:
    """What open pages are told: `until` in seconds since 1970."""
    now = status or Status()
    return {"kind": "maintenance", "mode": now.mode, "reason": now.reason, "until": now.until}


def _tell_pages(status: Status) -> None:
    """Before the switch turns, which a store that does not answer must not hinder: each process tells its own pages too."""
    try:
        HUB.tell(NOTICE, notice(status))
    except LiveError as error:
        log.warning("the notice of maintenance reaches pages with the switch only: %s", error)


def write_as_system(values: Mapping[str, Any], reason: str) -> None:
    """`resilience.maintenance.enable` and `disable` of a shell or a script."""
    maintenance_set(actor=SYSTEM, values=values, reason=reason)
