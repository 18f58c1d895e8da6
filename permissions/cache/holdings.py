"""What the layers of the cache hold of one id, for an operator who asks why an answer is as it is; changes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from permissions import revisions
from permissions.cache import catch_up, l2
from permissions.cache.codec import Candidate, decode, encode
from permissions.cache.codec_seal import Rejected, key_of
from permissions.cache.l1 import TwoGenerations
from permissions.cache.memory import now_us
from permissions.cache.reading import boot_ns
from permissions.cache.realm import Kind, RealmCache, Snapshot, is_void
from permissions.cache.state import State
from permissions.cache.targets import matcher
from permissions.revisions import Head

# What is said of a copy. `serves`: a check would use it as it is.
Verdict = Literal[
    "serves",
    "absent",
    "void",
    "ended",
    "newer",
    "too_old",
    "changed",
    "flushed",
    "other_history",
    "rejected",
    "unread",
    "down",
    "none",
]
VERDICTS: Final = get_args(Verdict)


@dataclass(frozen=True, slots=True)
class Copy:
    """What one layer holds. `built_rev`: B, the revision it was read at; `until_us`: when it ends, by the database's clock.

    `size_bytes`: as it is, or would be, stored in Redis; `ttl_ms`: what Redis still gives it; `known`: whether a row names it.
    """

    verdict: Verdict
    why: str = ""
    half: str = ""
    known: bool | None = None
    built_rev: int | None = None
    until_us: int | None = None
    size_bytes: int | None = None
    ttl_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Holdings:
    """`revision`: W of this process, None where it has read nothing of the realm; `floor`: the oldest that proves a copy.

    `filtered`: the filter says that no row names the id; `last_change`: the newest change of it in the window, 0 for none.
    """

    realm: str
    kind: Kind
    ref: str
    revision: int | None
    floor: int | None
    age_s: float | None
    filtered: bool | None
    last_change: int | None
    memory: Copy
    redis: Copy


def look_up(realm: str, kind: Kind, ref: str) -> Holdings:
    """Of this process's memory, and of the second layer that all share. Raises NotFound for a realm that is not there."""
    head = revisions.head(realm)
    cache = catch_up.find(realm)
    state = None if cache is None else cache.state
    if cache is None or state is None:
        redis = _in_redis(head, kind, ref, None, None)
        return Holdings(realm, kind, ref, None, None, None, None, None, Copy("unread"), redis)
    with cache.lock:
        last = cache.window.last(kind, ref)
    return Holdings(
        realm,
        kind,
        ref,
        state.rev,
        cache.window.floor,
        max(0.0, (boot_ns() - state.known_head_ns) / 1e9),
        None if cache.filters is None else cache.is_unknown(kind, state, ref),
        last,
        _in_memory(cache, state, kind, ref),
        _in_redis(state.head, kind, ref, cache, state),
    )


def _in_memory(cache: RealmCache, state: State, kind: Kind, ref: str) -> Copy:
    layers: tuple[TwoGenerations[Any], ...] = (
        (state.subjects, state.absent_subjects) if kind == "s" else (state.resources, state.absent_resources)
    )
    for layer in layers:
        found, half = layer.peek(ref)
        if found is not None:
            return _copy(_memory_verdict(found, state), found, half=half, size_bytes=_size(state.head, kind, found))
    return Copy("absent")


def _memory_verdict(found: Snapshot, state: State) -> Verdict:
    if is_void(found, state):
        return "void"
    until_us = getattr(found, "until_us", None)
    return "ended" if until_us is not None and now_us(state) + state.slack_us >= until_us else "serves"


def _now_us(state: State) -> int:
    return boot_ns() // 1_000 + state.offset_us


def _size(head: Head, kind: Kind, found: Snapshot) -> int | None:
    """None for what cannot be stored, and so has no size there."""
    made = encode(head, kind, found, found.built_rev, head.stamp)
    return None if made is None else len(made[1])


def _in_redis(head: Head, kind: Kind, ref: str, cache: RealmCache | None, state: State | None) -> Copy:
    layer = l2.second_layer()
    if not isinstance(layer, l2.RedisLayer):
        return Copy("none")
    try:
        key = key_of(head, kind, ref)
    except UnicodeEncodeError:
        return Copy("absent")
    answer = layer.link.peek(key)
    if answer is None:
        return Copy("down")
    value, ttl_ms = answer
    if value is None:
        return Copy("absent")
    try:
        candidate = decode(head, kind, ref, key, value)
    except Rejected as error:
        return Copy("rejected", error.cause, size_bytes=len(value), ttl_ms=ttl_ms)
    verdict: Verdict = "unread" if cache is None or state is None else _proof(cache, state, kind, candidate)
    return _copy(verdict, candidate.snapshot, candidate.built_rev, size_bytes=len(value), ttl_ms=ttl_ms)


def _proof(cache: RealmCache, state: State, kind: Kind, candidate: Candidate) -> Verdict:
    """What `RealmCache.keep` would say of it."""
    with cache.lock:
        window, built_rev = cache.window, candidate.built_rev
        if built_rev > state.rev:
            return "newer"
        if built_rev < window.floor:
            return "too_old"
        if window.stamps.get(built_rev) != candidate.stamp:
            return "other_history"
        if cache._last_change(kind, candidate.snapshot) > built_rev:
            return "changed"
        if any(matcher(f.tag, f.value)(candidate.snapshot) for f in window.flushes if f.rev > built_rev):
            return "flushed"
    until_us = getattr(candidate.snapshot, "until_us", None)
    return "ended" if until_us is not None and now_us(state) + state.slack_us >= until_us else "serves"


def _copy(
    verdict: Verdict,
    found: Snapshot,
    built_rev: int | None = None,
    *,
    half: str = "",
    size_bytes: int | None = None,
    ttl_ms: int | None = None,
) -> Copy:
    return Copy(
        verdict,
        "",
        half,
        found.known,
        found.built_rev if built_rev is None else built_rev,
        getattr(found, "until_us", None),
        size_bytes,
        ttl_ms,
    )
