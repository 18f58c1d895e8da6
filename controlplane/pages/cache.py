"""The cache board: what each layer answers, what each process holds, one id looked up; flush and warm-up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from controlplane.jobs import service as jobs
from controlplane.jobs import warming
from controlplane.pages.base import Look, Page
from controlplane.pages.ends import asked_in, number_of
from controlplane.services import boards, cache, cache_board
from controlplane.services.rights import control_realm
from permissions.cache import warmup
from permissions.cache.targets import ALL, TAGS
from permissions.errors import Refused
from permissions.models import Realm

MOST_REALMS: Final = 200
TAG_TITLES: Final = {
    "subject": gettext_lazy("Subjects, by a pattern of ids"),
    "resource": gettext_lazy("Resources, by a pattern of ids"),
    "role": gettext_lazy("Whoever holds a role"),
    "team": gettext_lazy("A team and its members"),
    "scope": gettext_lazy("A resource, what is below it, and who holds something there"),
    "all": gettext_lazy("Everything of the realm"),
}


def _flush(look: Look, fields: Mapping[str, str], reason: str) -> str:
    done = cache.flush_write(
        actor=look.actor,
        realm=fields.get("realm", ""),
        tag=fields.get("tag", ""),
        value=fields.get("value") or None,
        reason=reason,
        request_id=asked_in(look),
    )
    boards.forget()
    return _("Revision %(revision)s makes every process forget it within half a second.") % {"revision": done.revision}


def _warm(look: Look, fields: Mapping[str, str], reason: str) -> str:
    job = cache_board.warm_start(
        actor=look.actor,
        realm=fields.get("realm") or None,
        rate=number_of(fields.get("rate") or str(warmup.RATE)),
        reason=reason,
        request_id=asked_in(look),
    )
    progress = warmup.last()
    if progress is not None:
        # What it looks like from outside this process: a job with a row, that others can see and end too.
        jobs.start(
            warming.KIND.name,
            actor=look.actor,
            reason=reason,
            args={"realm": job["realm"], "rate": progress.rate},
            key=warming.key_of(progress),
            request_id=asked_in(look),
        )
    return _("The warm-up %(job)s runs in %(process)s.") % {"job": job["job"], "process": job["process"]}


def _cancel(look: Look, fields: Mapping[str, str], reason: str) -> str:
    if cache_board.warm_cancel(actor=look.actor, reason=reason, request_id=asked_in(look)):
        return _("The warm-up ends; what is filled stays.")
    return _("No warm-up runs in this process.")


class Cache(Page):
    name = "cache"
    title = gettext_lazy("Caches")
    about = gettext_lazy("What each layer answers, what each process holds, flush and warm-up.")
    icon = "memory"
    parts: ClassVar = {"board": "controlplane/pages/cache_board.html", "warmup": "controlplane/pages/cache_warmup.html"}
    topics = ("cache.",)
    renew_s = 2.0
    actions: ClassVar = {"flush": _flush, "warm": _warm, "warm_cancel": _cancel}

    def snapshot(self, look: Look) -> dict[str, Any]:
        running = warmup.last()
        return {**cache_board.board(), "warmup": None if running is None else running.as_values()}

    def context(self, look: Look) -> dict[str, Any]:
        realm = look.get("realm") or control_realm()
        return {
            "realm": realm,
            "realms": list(Realm.objects.order_by("name").values_list("name", flat=True)[:MOST_REALMS]),
            "tags": [(tag, TAG_TITLES[tag]) for tag in (*TAGS, ALL)],
            "kind": look.get("kind") or "subject",
            "ref": look.get("ref", 600),
            "held": _held(look, realm),
            "flush": _counted(look, realm),
            "rate": warmup.RATE,
        }


def _held(look: Look, realm: str) -> dict[str, Any] | None:
    """What the link asks about one id."""
    ref = look.get("ref", 600)
    if not ref:
        return None
    try:
        return cache_board.cache_subject(actor=look.actor, ref=ref, kind=look.get("kind") or "subject", realm=realm)
    except Refused as error:
        return {"error": error.detail}


def _counted(look: Look, realm: str) -> dict[str, Any] | None:
    """The first step of a flush: how many it would reach. The link names it, so that going back asks again."""
    tag, value = look.get("tag"), look.get("value")
    if not tag:
        return None
    try:
        found = cache.flush_count(actor=look.actor, realm=realm, tag=tag, value=value or None)
    except Refused as error:
        return {"error": error.detail}
    return {"tag": tag, "title": TAG_TITLES.get(tag, tag), "value": value, "realm": realm, "counted": found.as_values()}
