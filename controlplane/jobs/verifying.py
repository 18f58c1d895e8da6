"""The job `verify_audit`: walks the audit chains of one realm or of all, and names the first entry that does not fit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from django.utils.translation import gettext_lazy as _

from controlplane.jobs import kinds
from controlplane.jobs.context import Context
from controlplane.jobs.kinds import Kind
from controlplane.services.rights import MAINTENANCE_PAGE, OPERATE, require
from permissions import audit
from permissions.engine import names
from permissions.errors import NotFound
from permissions.models import AuditEvent
from permissions.writing import Actor
from resilience import telemetry

# Entries between two words about how far it is.
EACH: Final = 200


def arguments(given: Mapping[str, Any]) -> dict[str, Any]:
    kinds.only(given, ("realm",))
    realm = kinds.text(given, "realm", most=names.MAX_NAME) or None
    if realm is not None and not AuditEvent.objects.filter(realm_name=realm).exists():
        raise NotFound(f"there is no audit entry of a realm {realm!r}")
    return {"realm": realm}


def may(actor: Actor, _arguments: Mapping[str, Any]) -> None:
    """It tells no entry's content, only whether they fit."""
    require(actor, OPERATE, MAINTENANCE_PAGE)


def work(context: Context) -> dict[str, Any]:
    realm = context.arguments["realm"]
    chains = audit.chains() if realm is None else [realm]
    total = AuditEvent.objects.filter(realm_name__in=chains).count()
    done = 0
    found: list[dict[str, Any]] = []
    for name in chains:
        told = f"realm {name}" if name else "the platform"
        since = 0

        def walked(number: int, told: str = told) -> None:
            nonlocal done, since
            done += number
            since += number
            if since >= EACH:
                since = 0
                context.progress(min(done, total), total, told)

        context.progress(min(done, total), total, told)
        result = audit.verify(name, progress=walked)
        found.append(
            {
                "realm": name,
                "checked": result.checked,
                "erased": result.erased,
                "first_bad": result.first_bad,
                "problem": result.problem,
                "head": result.head,
            }
        )
        if result.first_bad is None:
            context.log(f"{told}: {result.checked} entries fit; head {result.head}")
        else:
            context.log(f"{told}: entry {result.first_bad} {result.problem}; the {result.checked} before it fit")
            telemetry.emit("audit.broken", realm=name, seq=result.first_bad, problem=result.problem)
    broken = [chain["realm"] for chain in found if chain["first_bad"] is not None]
    return {"ok": not broken, "broken": broken, "chains": found}


KIND: Final = Kind(
    name="verify_audit",
    title=_("Verify the audit"),
    about=_("Walks the chains of the audit, and names the first entry that was altered, removed or put in."),
    work=work,
    arguments=arguments,
    may=may,
    page=MAINTENANCE_PAGE,
    slot=lambda arguments: f"verify_audit:{arguments['realm'] or ''}",
)
