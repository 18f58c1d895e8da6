"""Use cases of API keys: create, revoke."""

from __future__ import annotations

import datetime as dt
from typing import Literal

from django.utils import timezone

from permissions.engine import names
from permissions.engine.keys import new_key
from permissions.errors import Conflict, NotFound
from permissions.models import ApiKey, Realm, Subject
from permissions.services.guards import require
from permissions.services.handing_out import require_cover_of, require_escalate
from permissions.services.stores.rows import clean
from permissions.services.validation import Mistakes
from permissions.writing import Actor, permission_write


def key_create(
    *,
    actor: Actor,
    realm: Realm,
    name: str,
    subject: str | None = None,
    asserted: Literal["override", "fill", "ignore"] = "fill",
    is_admin: bool = False,
    valid_until: dt.datetime | None = None,
    reason: str = "",
    request_id: str = "",
) -> tuple[ApiKey, str]:
    """The row, and the key itself: shown once, stored as a digest only.

    Who has the key has all that its subject has, so its author must hold that too. A key that is an administrator, or whose word
    overrides what is stored (teams included), holds more than any pattern says: that takes `permsite.realm:escalate`.
    """
    with permission_write(realm, actor, reason, request_id=request_id) as write:
        require(write, "key", "create")
        mistakes = Mistakes()
        mistakes.name(name, "name")
        if subject is not None:
            mistakes.ref(subject, "subject")
        if subject is not None and is_admin:
            mistakes.note("subject", "a key acts as a subject or as an administrator, not both")
        if asserted not in ("override", "fill", "ignore"):
            mistakes.note("asserted", f"must be override, fill or ignore, not {names.shown(str(asserted))}")
        if valid_until is not None and valid_until.tzinfo is None:
            mistakes.note("valid_until", "a moment needs a time zone")
        elif valid_until is not None and valid_until <= timezone.now():
            mistakes.note("valid_until", "lies in the past: the key would never work")
        mistakes.refuse()
        if ApiKey.objects.filter(realm=write.realm, name=name, revoked_at__isnull=True).exists():
            raise Conflict(f"there is a key {names.shown(name)} already; revoke it first or take another name")
        if is_admin:
            require_escalate(write, "a key that acts as an administrator")
        if asserted == "override":
            require_escalate(write, "a key whose word overrides stored attributes")
        holder = None
        if subject is not None:
            holder = Subject.objects.filter(realm=write.realm, ref=subject).exclude(kind="everyone").first()
            if holder is None:
                raise NotFound(f"there is no subject {names.shown(subject)} in realm {names.shown(write.realm.name)}")
            require_cover_of(write, subject, f"a key that acts as {names.shown(subject)}")
        plain, prefix, digest = new_key()
        row = ApiKey(
            realm=write.realm,
            name=name,
            prefix=prefix,
            digest=digest,
            asserted=asserted,
            subject=holder,
            is_admin=is_admin,
            created_by=write.actor.name,
            valid_until=valid_until,
        )
        clean(row)
        row.save()
        write.record("key.create", "key", str(row.pk), None, key_line(row))
    return row, plain


def key_line(row: ApiKey) -> dict[str, object]:
    """A key as the audit and the API tell it: never its digest."""
    line: dict[str, object] = {"name": row.name, "prefix": row.prefix, "asserted": row.asserted}
    if row.subject is not None:
        line["subject"] = row.subject.ref
    if row.is_admin:
        line["admin"] = True
    for key in ("valid_until", "revoked_at"):
        moment: dt.datetime | None = getattr(row, key)
        if moment is not None:
            line[key] = moment.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")
    return line


def key_revoke(*, actor: Actor, realm: Realm, key_id: int, reason: str = "", request_id: str = "") -> ApiKey:
    """The row stays, for the audit's sake. One that is revoked already is a Conflict, never a second success."""
    with permission_write(realm, actor, reason, request_id=request_id) as write:
        require(write, "key", "delete")
        row = ApiKey.objects.filter(realm=write.realm, pk=key_id).select_related("subject").first()
        if row is None:
            raise NotFound(f"there is no key {key_id} in realm {names.shown(write.realm.name)}")
        if row.revoked_at is not None:
            raise Conflict(f"key {names.shown(row.name)} was revoked already")
        before = key_line(row)
        row.revoked_at = timezone.now()
        row.save(update_fields=["revoked_at"])
        write.record("key.revoke", "key", str(row.pk), before, key_line(row))
    return row
