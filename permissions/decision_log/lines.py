"""One decision as a line of JSON: names redacted, subject and resource as keyed hashes where wished."""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import json
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

import msgspec

from permissions import conf
from permissions.decision_log.buffer import LEFT_OUT, MOST_OF_ONE, Entry
from permissions.decision_log.options import Options

VERSION: Final = 1
# The order in which an entry carries what the caller gave.
PARTS: Final = ("context", "subject_properties", "resource_properties", "action_properties")
REDACTED: Final = "[redacted]"
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_encode: Final = msgspec.json.Encoder().encode
_raw: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode
_NOTHING: Final = (b"{}", b"null")
_PLAIN: Final = re.compile(r"[a-z0-9_.-]+").fullmatch


@lru_cache(maxsize=4)
def _key(secret: str) -> bytes:
    return hmac.new(secret.encode(), b"permsite.decision-log.v1", hashlib.sha256).digest()


def hashed(realm: str, kind: str, ref: str, secret: str | None = None) -> str:
    """`type:#<32 hex digits>`: the same for the same ref of a realm, and nothing that can be guessed without the key."""
    key = _key(conf.secret_key() if secret is None else secret)
    digest = hmac.new(key, "\x00".join((realm, kind, ref)).encode(), hashlib.sha256).hexdigest()[:32]
    return f"{ref.partition(':')[0]}:#{digest}"


def time_text(at_us: int) -> str:
    return (_EPOCH + dt.timedelta(microseconds=at_us)).isoformat(timespec="microseconds").replace("+00:00", "Z")


def line_of(entry: Entry, ident: str, options: Options) -> bytes:
    """Ends with a line feed. Raises ValueError for what makes no JSON, such as half a surrogate."""
    decision = entry.decision
    line: dict[str, Any] = {
        "v": VERSION,
        "id": ident,
        "at": time_text(entry.at_us),
        "realm": entry.realm,
        "subject": entry.subject,
        "permission": entry.permission,
        "resource": entry.resource,
        "allowed": decision.allowed,
        "reason": decision.reason,
        "revision": decision.revision,
        "epoch": entry.epoch,
        "source": decision.source,
    }
    if decision.stale:
        line["stale"] = True
    if entry.slack_us:
        line["slack_us"] = entry.slack_us
    if entry.is_superuser_allowed:
        line["superuser_allowed"] = True
    if entry.is_uncommitted:
        line["uncommitted"] = True
    if entry.asserted != "fill":
        line["asserted"] = entry.asserted
    if entry.given:
        _add_given(line, entry, options)
    _hash(line, entry, options)
    return _encode(line) + b"\n"


def _hash(line: dict[str, Any], entry: Entry, options: Options) -> None:
    done = []
    if options.hash_subjects:
        line["subject"] = hashed(entry.realm, "subject", entry.subject)
        done.append("subject")
    if options.hash_resources and entry.resource is not None:
        line["resource"] = hashed(entry.realm, "resource", entry.resource)
        done.append("resource")
    if done:
        line["hashed"] = done


def _add_given(line: dict[str, Any], entry: Entry, options: Options) -> None:
    """What the caller gave, save names to redact; the properties of what is hashed would tell who it is, so they are left out."""
    if len(entry.given) > MOST_OF_ONE or entry.given == LEFT_OUT:
        line["omitted"] = ["attributes"]
        return
    hidden = {
        *(["subject_properties"] if options.hash_subjects else []),
        *(["resource_properties"] if options.hash_resources else []),
    }
    redacted: list[str] = []
    left_out = []
    names_nobody = _names_nobody(entry.given, options.redact)
    # A value in which no name is to be redacted goes into the line as the bytes that it is: a fifth of the time.
    values: list[Any] = _raw(entry.given) if names_nobody else json.loads(entry.given)
    for name, value in zip(PARTS, values, strict=True):
        if not value or (names_nobody and bytes(value) in _NOTHING):
            continue
        if name in hidden:
            left_out.append(name)
        else:
            line[name] = value if names_nobody else _redacted(value, name, options.redact, redacted)
    if redacted:
        line["redacted"] = redacted
    if left_out:
        line["omitted"] = left_out


@lru_cache(maxsize=4)
def _as_bytes(names: frozenset[str]) -> tuple[bytes, ...] | None:
    """None where one of them may be written in several ways in JSON."""
    return tuple(name.encode() for name in names) if all(_PLAIN(name) for name in names) else None


def _names_nobody(given: bytes, names: frozenset[str]) -> bool:
    """Whether none of the names occurs at all, as far as that can be told without reading it."""
    plain = _as_bytes(names)
    if plain is None or b"\\u" in given:
        return False
    lower = given.lower()
    return not any(name in lower for name in plain)


def _redacted(value: Any, path: str, names: frozenset[str], found: list[str]) -> Any:
    if isinstance(value, dict):
        shown = {}
        for name, item in value.items():
            if name.lower() in names:
                shown[name] = REDACTED
                found.append(f"{path}.{name}")
            else:
                shown[name] = _redacted(item, f"{path}.{name}", names, found)
        return shown
    if isinstance(value, list):
        return [_redacted(item, path, names, found) for item in value]
    return value


def lines_of(entries: Sequence[Entry], prefix: str, first: int, options: Options) -> tuple[list[bytes], int]:
    """The lines, numbered from `first`, and how many decisions made none."""
    lines, broken = [], 0
    for place, entry in enumerate(entries):
        try:
            lines.append(line_of(entry, f"{prefix}-{first + place}", options))
        except (ValueError, TypeError, OverflowError, RecursionError, msgspec.MsgspecError):
            broken += 1
    return lines, broken
