"""The job `warm_cache`: fills the caches of the process that was asked, and with them the layer that all share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from django.utils.translation import gettext_lazy as _

from controlplane.jobs import kinds
from controlplane.jobs.context import Cancelled, Context, Ending
from controlplane.jobs.kinds import Kind
from controlplane.services.rights import CACHE_PAGE, OPERATE, require
from permissions.cache import warmup
from permissions.engine import names
from permissions.errors import Invalid, NotFound, Problem
from permissions.models import Realm
from permissions.writing import Actor

LOOK_S: Final = 0.2


def arguments(given: Mapping[str, Any]) -> dict[str, Any]:
    kinds.only(given, ("realm", "rate"))
    realm = kinds.text(given, "realm", most=names.MAX_NAME) or None
    if realm is not None and not Realm.objects.filter(name=realm).exists():
        raise NotFound(f"there is no realm {realm!r}")
    rate = given.get("rate", warmup.RATE)
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 1 <= rate <= warmup.MOST_RATE:
        raise Invalid([Problem("arguments.rate", f"must be snapshots a second, from 1 to {warmup.MOST_RATE}")])
    return {"realm": realm, "rate": rate}


def may(actor: Actor, _arguments: Mapping[str, Any]) -> None:
    require(actor, OPERATE, CACHE_PAGE)


def key_of(progress: warmup.Progress) -> str:
    """Of the job of a warm-up that runs already."""
    return f"warm_cache:{progress.id}"


def work(context: Context) -> dict[str, Any]:
    progress = warmup.last()
    if progress is None or context.key != key_of(progress):
        progress = warmup.start(context.arguments["realm"], rate=context.arguments["rate"])
    context.log(f"warm-up {progress.id} of {progress.process}")
    told: set[tuple[str, str]] = set()
    try:
        while not progress.wait(LOOK_S):
            _tell(context, progress, told)
    except (Cancelled, Ending):
        progress.cancel()
        progress.wait(LOOK_S * 10)
        raise
    _tell(context, progress, told)
    if progress.state == "cancelled":
        # By its own endpoint, or by a server that ends.
        raise Cancelled
    if progress.state == "failed":
        failed = next((step for step in progress.steps if step.state == "failed"), None)
        raise WarmingFailed(progress.error or (f"{failed.component} of {failed.realm}: {failed.error}" if failed else "unknown"))
    return {"process": progress.process, "steps": len(progress.steps)}


class WarmingFailed(Invalid):
    """Some of it could not be loaded; the rest is filled."""

    code = "warming_failed"

    def __init__(self, text: str) -> None:
        super().__init__([Problem("", text)])


def _tell(context: Context, progress: warmup.Progress, told: set[tuple[str, str]]) -> None:
    steps = list(progress.steps)
    for step in steps:
        if step.state in ("done", "failed") and (step.realm, step.component) not in told:
            told.add((step.realm, step.component))
            context.log(f"{step.realm}: {step.component} {step.state}, {step.done} of {step.total} {step.error}".strip())
    running = next((step for step in steps if step.state == "running"), None)
    name = f"{running.realm}: {running.component}" if running is not None else ""
    context.progress(round(progress.ratio * 1000), 1000, name)


KIND: Final = Kind(
    name="warm_cache",
    title=_("Warm the caches"),
    about=_("Fills the memory of the process that is asked and the layer that all share. No check waits for it."),
    work=work,
    arguments=arguments,
    may=may,
    page=CACHE_PAGE,
    # Of each process, so there is no slot: the warm-up itself refuses a second one beside it.
    here=True,
)
