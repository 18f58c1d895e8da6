"""Sessions: who is logged in from where, which keys are used, whom the login keeps out; ended and let in again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from controlplane.pages.base import Look, Page
from controlplane.pages.realm_choice import here, offered, realm_of, request_id_of
from controlplane.services import sessions as service
from controlplane.services.realms import KEY_VIEW, may_in, realm_named
from permissions import pdp
from permissions.bundle.compact import date_text
from permissions.errors import NotFound, Refused
from permissions.models import ApiKey
from permissions.services.keys import key_revoke
from permissions.writing import run_write
from resilience.errors import StorageError


def number_in(fields: Mapping[str, str]) -> int:
    text = fields.get("id", "")
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise NotFound(_("There is no such row."))
    return int(text)


def revoke(look: Look, fields: Mapping[str, str], reason: str) -> str:
    subject = service.session_revoke(
        actor=look.actor, session_id=number_in(fields), reason=reason, request_id=request_id_of(look)
    )
    return _("A session of %(subject)s has ended.") % {"subject": subject}


def revoke_all(look: Look, fields: Mapping[str, str], reason: str) -> str:
    """All but the one that asks."""
    subject = fields.get("subject", "").strip()
    number = service.sessions_revoke(
        actor=look.actor, subject=subject, reason=reason, request_id=request_id_of(look), but=current_key(look)
    )
    return ngettext("%(n)s session of %(subject)s has ended.", "%(n)s sessions of %(subject)s have ended.", number) % {
        "n": number,
        "subject": subject,
    }


def unlock(look: Look, fields: Mapping[str, str], reason: str) -> str:
    key = fields.get("key", "")
    try:
        service.unlock(actor=look.actor, rule=fields.get("rule", ""), key=key, reason=reason, request_id=request_id_of(look))
    except StorageError:
        raise Unanswered(_("The store of the limits does not answer; nothing was changed.")) from None
    return _("%(key)s may try again.") % {"key": key}


def revoke_key(look: Look, fields: Mapping[str, str], reason: str) -> str:
    realm = realm_named(look.actor, fields.get("realm", ""))
    key_id = number_in(fields)
    row, _write = run_write(
        realm.name,
        look.actor,
        reason,
        lambda write: key_revoke(actor=look.actor, realm=write.realm, key_id=key_id),
        request_id=request_id_of(look),
    )
    return _("The key %(name)s is revoked.") % {"name": row.name}


class Unanswered(Refused):
    """A store does not answer."""

    code = "unavailable"
    status = 503


def current_key(look: Look) -> str:
    session = getattr(look.request, "session", None)
    return str(getattr(session, "session_key", "") or "")


def key_lines(realm: str, subject: str) -> list[dict[str, Any]]:
    rows = ApiKey.objects.filter(realm__name=realm, revoked_at=None).select_related("subject", "use")
    if subject:
        rows = rows.filter(subject__ref=subject)
    return [
        {
            "id": row.pk,
            "name": row.name,
            "prefix": row.prefix,
            "subject": None if row.subject is None else row.subject.ref,
            "admin": row.is_admin,
            "asserted": row.asserted,
            "created_at": date_text(row.created_at),
            "created_by": row.created_by,
            "valid_until": None if row.valid_until is None else date_text(row.valid_until),
            "last_used": date_text(row.use.last_used_at) if hasattr(row, "use") else None,
        }
        for row in rows.order_by("name")[: service.MOST]
    ]


class Sessions(Page):
    name = "sessions"
    title = gettext_lazy("Sessions & keys")
    about = gettext_lazy("Who is logged in, which keys are used, whom the login keeps out")
    icon = "devices"
    parts: ClassVar = {"lists": "controlplane/pages/sessions_lists.html"}
    topics = ("session.", "rate_limiter.reset")
    renew_s = 10.0
    actions: ClassVar = {"revoke": revoke, "revoke_all": revoke_all, "unlock": unlock, "revoke_key": revoke_key}

    def opens(self, look: Look) -> bool:
        """One's own sessions need no right."""
        return look.actor.subject is not None or look.may(self.view_code)

    def snapshot(self, look: Look) -> dict[str, Any]:
        subject = look.get("subject", 600)
        realm = realm_of(look)
        found: dict[str, Any] = {
            "subject": subject,
            "realm": realm,
            "own": look.actor.subject or "",
            "sees_all": look.may(self.view_code),
            "sessions": [],
            "more": False,
            "lockouts": None,
            "lockouts_away": False,
            "keys": None,
            "problems": [],
        }
        try:
            rows = list(service.sessions_seen(look.actor, subject)[: service.MOST + 1])
        except Refused as error:
            found["problems"] = [error.detail]
            return found
        current = current_key(look)
        found["more"] = len(rows) > service.MOST
        found["sessions"] = [service.session_line(row, current) for row in rows[: service.MOST]]
        if found["sees_all"]:
            try:
                found["lockouts"] = [lockout.to_dict() for lockout in service.lockouts(look.actor, subject)]
            except StorageError:
                found["lockouts_away"] = True
        try:
            realm = realm_named(look.actor, realm).name
            if may_in(look.actor, KEY_VIEW, realm):
                found["keys"] = key_lines(realm, subject)
        except (Refused, pdp.InvalidRequestError, pdp.Unavailable) as error:
            found["problems"].append(str(error))
        return found

    def context(self, look: Look) -> dict[str, Any]:
        realm = realm_of(look)
        try:
            may_revoke = may_in(look.actor, "permsite.key:delete", realm)
        except (pdp.InvalidRequestError, pdp.Unavailable):
            may_revoke = False
        needs = _("This needs %(code)s in the realm %(realm)s.")
        return {
            "here": here(look),
            "realms": offered(look, KEY_VIEW, realm),
            "missing_key": "" if may_revoke else needs % {"code": "permsite.key:delete", "realm": realm},
        }
