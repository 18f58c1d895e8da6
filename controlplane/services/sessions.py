"""Sessions of people: seen, ended by themselves or by an operator; names that the login keeps out, and letting them in again."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db.models import QuerySet
from django.utils import timezone

from controlplane.live.hub import HUB
from controlplane.live.port import RIGHTS, LiveError
from controlplane.models import BrowserSession
from controlplane.services import browser_sessions
from controlplane.services.control import acting
from controlplane.services.rights import OPERATE, VIEW, control_realm, may, on_page, require
from permissions import conf
from permissions.bundle.compact import date_text
from permissions.engine import names
from permissions.errors import Forbidden, Invalid, NotFound, Problem
from permissions.writing import Actor, Write, run_write
from resilience import registry, telemetry

SESSIONS_PAGE: Final = on_page("sessions")
# The rules of the login, as the site declares them: by the name that is tried, and by the address it is tried from.
LOGIN_RULES: Final = ("login.user", "login.address")
MOST: Final = 200
# Keys of a rule that are looked at: the kit keeps no more of the most refused.
MOST_REFUSED: Final = 100


@dataclass(frozen=True, slots=True)
class Lockout:
    """`key`: a name or an address. `retry_after_s`: until its next try is let through."""

    rule: str
    key: str
    refusals: int
    retry_after_s: float

    def to_dict(self) -> dict[str, Any]:
        wait = round(self.retry_after_s, 1) if math.isfinite(self.retry_after_s) else None
        return {"rule": self.rule, "key": self.key, "refusals": self.refusals, "retry_after_s": wait}


def subject_of(user: Any) -> str:
    return f"user:{getattr(user, conf.subject_attribute())}"


def may_see_all(actor: Actor) -> bool:
    return may(actor, VIEW, SESSIONS_PAGE)


# Seeing
def sessions_seen(actor: Actor, subject: str = "") -> QuerySet[BrowserSession]:
    """Those that live, the one seen last first: of one subject or of all; one's own without any right.

    Raises Forbidden, Invalid for a text that is no subject.
    """
    own = actor.subject or ""
    wanted = subject or ("" if may_see_all(actor) else own)
    if wanted != own and not may_see_all(actor):
        raise Forbidden(f"this needs {VIEW} on {SESSIONS_PAGE} in the realm {control_realm()}")
    if not wanted and not may_see_all(actor):
        return BrowserSession.objects.none()
    rows = BrowserSession.objects.filter(session__expire_date__gt=timezone.now()).select_related("user", "session")
    if wanted:
        rows = rows.filter(user__in=_users_of(wanted))
    return rows.order_by("-last_seen_at", "-pk")


def _users_of(subject: str) -> QuerySet[Any]:
    """The account behind a subject; none for a subject of another type."""
    try:
        kind, ident = names.split_ref(names.check_ref(subject, "subject"))
    except names.BadNameError as error:
        raise Invalid([Problem("subject", str(error))]) from error
    users = get_user_model()._default_manager.all()
    return users.filter(**{conf.subject_attribute(): ident}) if kind == "user" else users.none()


def session_line(row: BrowserSession, current: str = "") -> dict[str, Any]:
    """`current`: the key of the session that asks, so that nobody ends their own by mistake. The key itself is never told."""
    return {
        "id": row.pk,
        "subject": subject_of(row.user),
        "since": date_text(row.begun_at),
        "last_seen": date_text(row.last_seen_at),
        "ends": date_text(row.session.expire_date),
        "address": row.address,
        "browser": row.browser,
        "current": bool(current) and row.session_id == current,
    }


# Ending
def session_revoke(*, actor: Actor, session_id: int, reason: str = "", request_id: str = "") -> str:
    """Ends one; the subject it was of. One's own without any right. Raises Forbidden, NotFound."""
    row = BrowserSession.objects.filter(pk=session_id).select_related("user").first()
    if row is None or subject_of(row.user) != actor.subject:
        require(actor, OPERATE, SESSIONS_PAGE)  # first, so that a refusal does not tell which numbers there are
    if row is None:
        raise NotFound(f"there is no session {session_id}; it may have ended")
    return _end([row], actor, reason, request_id)[0]


def sessions_revoke(*, actor: Actor, subject: str, reason: str = "", request_id: str = "", but: str = "") -> int:
    """Ends all of a subject's, save the session whose key is `but`; how many. Raises Forbidden, Invalid, NotFound."""
    if subject != actor.subject:
        require(actor, OPERATE, SESSIONS_PAGE)
    rows = BrowserSession.objects.filter(user__in=_users_of(subject)).exclude(session_id=but).select_related("user")
    found = list(rows)
    if not found:
        raise NotFound(f"{names.shown(subject)} has no session that could be ended")
    return len(_end(found, actor, reason, request_id))


def _end(rows: Sequence[BrowserSession], actor: Actor, reason: str, request_id: str) -> list[str]:
    """Rows and audit in one transaction; then every process is told, so that open sockets look again at once."""
    subjects = [subject_of(row.user) for row in rows]
    store: Any = import_module(settings.SESSION_ENGINE).SessionStore

    def work(write: Write) -> None:
        for row, subject in zip(rows, subjects, strict=True):
            before = {key: value for key, value in session_line_of_audit(row).items() if value}
            write.record("control_session_revoke", "session", subject, before, None)
            store(row.session_id).delete()  # ours goes with it
        write.after(lambda _: _tell(rows, subjects))

    run_write(control_realm(), actor, reason, work, request_id=request_id)
    return subjects


def session_line_of_audit(row: BrowserSession) -> dict[str, object]:
    return {"since": date_text(row.begun_at), "address": row.address, "browser": row.browser}


def _tell(rows: Sequence[BrowserSession], subjects: Sequence[str]) -> None:
    for row, subject in zip(rows, subjects, strict=True):
        browser_sessions.forget(str(row.session_id))
        telemetry.emit("session.revoked", subject=subject)
    try:
        HUB.tell(RIGHTS, {"realm": control_realm(), "subjects": sorted(set(subjects))})
    except LiveError as error:  # they are ended; open sockets find that out by themselves, within a minute
        telemetry.internal_error("sessions", "tell", error)


# Lockouts
def lockouts(actor: Actor, subject: str = "") -> list[Lockout]:
    """Who the login refuses now, of those it refused most in the last minutes; of one subject: that name alone.

    Raises Forbidden, and StorageError where the store cannot be asked.
    """
    if subject != actor.subject or not subject:
        require(actor, VIEW, SESSIONS_PAGE)
    if subject:
        key = names.split_ref(subject)[1].casefold()
        return [found for found in (_lockout(LOGIN_RULES[0], key, 0),) if found is not None]
    found = []
    for rule in LOGIN_RULES:
        for refused in registry.control.top_refused(rule, MOST_REFUSED):
            lockout = _lockout(rule, refused.key, refused.refusals)
            if lockout is not None:
                found.append(lockout)
    return found


def _lockout(rule: str, key: str, refusals: int) -> Lockout | None:
    try:
        verdict = registry.control.inspect(rule, key)
    except ValueError:  # a key that nothing can be asked about: nobody can be let in by it either
        return None
    return None if verdict.allowed else Lockout(rule, key, refusals, verdict.retry_after_s)


def unlock(*, actor: Actor, rule: str, key: str, reason: str, request_id: str = "") -> None:
    """The name or address is as if it had never been tried. Raises Forbidden, Invalid; StorageError where nothing was done."""
    require(actor, OPERATE, SESSIONS_PAGE)
    if rule not in LOGIN_RULES:
        raise Invalid([Problem("rule", f"must be one of {', '.join(LOGIN_RULES)}")])
    if not key or len(key) > 500 or not key.isprintable():
        raise Invalid([Problem("key", "must be a name or an address, of 1 to 500 printable characters")])
    if not reason.strip():
        raise Invalid([Problem("reason", "is missing: it is read in the audit")])
    with acting(actor, request_id=request_id):
        registry.control.reset_key(rule, key, actor=actor.name, reason=reason)
