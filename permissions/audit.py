"""The audit chain: who changed what, written in the writer's transaction, each entry sealed over the one before.

`hash = HMAC(key, prev_hash + header + payload_hash)` where header is the canonical JSON of all columns but before and after, and
payload_hash is the SHA-256 of the canonical JSON of those two, so that a payload may be erased by law and the chain still
verifies. The key is not in the database: its owner could rewrite the chain otherwise. Order comes for free: the realm row is
locked. Source: control plane, section 12.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from django.utils import timezone

from permissions import conf
from permissions.models import AuditEvent

PLATFORM: Final = ""  # the chain of what belongs to no realm
BATCH: Final = 500
ERASED: Final = {"erased": True}


@dataclass(frozen=True, slots=True)
class Entry:
    action: str
    object_type: str
    object_id: str
    before: dict[str, object] | None
    after: dict[str, object] | None


@dataclass(frozen=True, slots=True)
class Verification:
    """`first_bad` is the sequence number of the first entry that does not fit, None when all of `checked` do."""

    realm_name: str
    checked: int
    erased: int
    first_bad: int | None
    problem: str
    head: str


def canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)


def _chain_keys() -> list[bytes]:
    own = conf.audit_key()
    if own:
        return [own.encode()]
    return [hmac.new(s.encode(), b"permsite.audit-chain.v1", hashlib.sha256).digest() for s in conf.secret_keys()]


def _payload_hash(event: AuditEvent) -> str:
    return hashlib.sha256(canonical([event.before, event.after]).encode()).hexdigest()


def _seal(event: AuditEvent, key: bytes) -> str:
    header = canonical(
        [
            event.realm_name,
            event.seq,
            event.at.astimezone(dt.UTC).isoformat(timespec="microseconds"),
            event.actor,
            event.actor_kind,
            event.action,
            event.object_type,
            event.object_id,
            event.reason,
            event.request_id,
            event.revision,
        ]
    )
    return hmac.new(key, f"{event.prev_hash}\n{header}\n{event.payload_hash}".encode(), hashlib.sha256).hexdigest()


def write_entries(
    entries: Sequence[Entry],
    *,
    realm_name: str,
    actor: str,
    actor_kind: str,
    reason: str,
    request_id: str,
    revision: int | None,
) -> None:
    """Appends the entries to the realm's chain. Caller holds the realm's lock: two writers would share a number."""
    if not entries:
        return
    last = AuditEvent.objects.filter(realm_name=realm_name).order_by("-seq").values_list("seq", "hash").first()
    seq, prev = last if last is not None else (0, "")
    at = timezone.now()
    key = _chain_keys()[0]
    rows = []
    for entry in entries:
        seq += 1
        event = AuditEvent(
            realm_name=realm_name,
            seq=seq,
            at=at,
            actor=_storable(actor)[:600],
            actor_kind=actor_kind,
            action=entry.action,
            object_type=entry.object_type,
            object_id=entry.object_id[:600],
            before=_plain(entry.before),
            after=_plain(entry.after),
            reason=_storable(reason)[:1000],
            request_id=_storable(request_id)[:200],
            revision=revision,
            prev_hash=prev,
        )
        event.payload_hash = _payload_hash(event)
        event.hash = prev = _seal(event, key)
        rows.append(event)
    AuditEvent.objects.bulk_create(rows, batch_size=BATCH)


def _storable(text: str) -> str:
    """Without what no column can hold: a write must not fail, nor go unrecorded, for a character in its reason."""
    return text.replace("\x00", "").encode(errors="replace").decode()


def _plain(value: dict[str, object] | None) -> dict[str, object] | None:
    """As it will be read back: tuples are lists, dates are texts; else the hash would not survive the database."""
    if value is None:
        return None
    plain: dict[str, object] = json.loads(canonical(value), parse_float=_number)
    return plain


def _number(text: str) -> float | int:
    """PostgreSQL's jsonb gives 1e22 back as a whole number and knows no negative zero: whole floats are kept as whole numbers."""
    number = float(text)
    return int(number) if number.is_integer() else number


def problem_of(event: AuditEvent, seq: int, prev: str) -> str:
    """Why the event does not stand as number `seq` after the one sealed `prev`; empty when it does."""
    if event.seq != seq:
        return f"number {seq} is missing"
    if event.prev_hash != prev:
        return "does not follow the entry before it"
    if not any(hmac.compare_digest(event.hash, _seal(event, key)) for key in _chain_keys()):
        return "was altered, or sealed with another key"
    if ERASED not in (event.before, event.after) and not hmac.compare_digest(event.payload_hash, _payload_hash(event)):
        return "its content was altered"
    return ""


def verify(realm_name: str, *, progress: Callable[[int], None] | None = None) -> Verification:
    """Walks the chain from its first entry. It cannot see its own tail cut off: compare `head` with one kept elsewhere."""
    prev, checked, erased = "", 0, 0
    events = AuditEvent.objects.filter(realm_name=realm_name).order_by("seq")
    for event in events.iterator(chunk_size=BATCH):
        problem = problem_of(event, checked + 1, prev)
        erased += ERASED in (event.before, event.after)
        if problem:
            return Verification(realm_name, checked, erased, event.seq, problem, prev)
        checked += 1
        prev = event.hash
        if progress is not None:
            progress(1)
    return Verification(realm_name, checked, erased, None, "", prev)


def chains() -> list[str]:
    return list(AuditEvent.objects.order_by("realm_name").values_list("realm_name", flat=True).distinct())
