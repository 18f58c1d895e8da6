"""Hostile input: whatever is sent, wherever, by whomever, is answered. A 5xx would be a fault, and so would an HTML page."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from permissions.api import urls
from permissions.bundle import keys as bundle_keys
from permissions.models import RoleBinding
from tests.permissions.api.test_nouns import NOUNS
from tests.permissions.api.world import Api, Cast

pytestmark = pytest.mark.django_db

EXAMPLES = 300
NASTY = st.sampled_from(
    [
        "",
        " ",
        "\x00",
        "a\x00b",
        "\ud800",
        "*",
        "user:*",
        "user:alice",
        "team:care",
        "server:7",
        "permsite.role:view",
        "post:*",
        "post:read",
        "permsite.*:*",
        "a:b:c:d",
        ":" * 50,
        "x" * 600,
        "é\u0301",
        "\u202e",
        "' OR 1=1 --",
        "{{7*7}}",
        "%s%n",
        "true",
        "2026-01-01T00:00:00Z",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
        "context.mfa == true",
        "(" * 500,
        "a.b" * 300,
    ]
)
TEXT = NASTY | st.text(max_size=20)
NUMBER = (
    st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([0, 1, -1, 2**31, 2**63])
)
KEYS = sorted(
    {
        *bundle_keys.PERMISSION_KEYS,
        *bundle_keys.ROLE_KEYS,
        *bundle_keys.TEAM_KEYS,
        *bundle_keys.RESOURCE_KEYS,
        *bundle_keys.BINDING_KEYS,
        *bundle_keys.REALM_KEYS,
        *bundle_keys.SETTINGS_KEYS,
        *("asserted", "admin", "checks", "permission", "resource", "context", "at", "subject_properties", "resource_properties"),
    }
)
VALUE = st.recursive(
    st.none() | st.booleans() | NUMBER | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS) | TEXT, inner, max_size=4),
    max_leaves=12,
)
SECTIONS = [*(noun.section for noun in NOUNS), "keys", "audit", "revisions"]
METHODS = ["GET", "POST", "POST", "PUT", "PATCH", "DELETE"]
PARAMETERS = [
    "limit",
    "after",
    "ordering",
    "search",
    "realm",
    "reason",
    "type",
    "scope",
    "subject",
    "since",
    "revision",
    "locked",
]
VIEWS = {view.section: view for view in urls.NOUNS}
NAMES = st.sampled_from(["editor", "user:bob", "team:care", "channel:9", "post:read", "content", "default", "1", "2", "3"])


# Of each noun one that nothing else holds on to.
THERE = {
    "realms": "default",
    "permissions": "post:purge",
    "groups": "content",
    "roles": "editor",
    "subjects": "user:zed",
    "teams": "team:care",
    "resources": "server:8",
    "bindings": "BINDING",
}


@dataclass(frozen=True)
class Sent:
    who: str
    method: str
    path: str
    body: bytes
    token: str | None


def spoiled(draw: st.DrawFn, line: dict[str, Any]) -> Any:
    """A line with some keys wrong, often none."""
    line = dict(line)
    for key in draw(st.just([]) | st.lists(st.sampled_from(sorted(line) * 3 + KEYS), max_size=2)):
        line[key] = draw(VALUE)
    return line


QUESTION = {"subject": "user:bob", "permission": "post:read", "resource": "channel:9", "context": {"mfa": True}}


@st.composite
def requests(draw: st.DrawFn) -> Sent:
    """Mostly a request that is almost right; sometimes anything at all."""
    who = draw(st.sampled_from(["root", "root", "alice", "bob", "plain_key", "bobs_key"]))
    token = draw(
        st.none()
        | st.sampled_from(["full", "v1.1.aaaaaaaa.1.x"])
        | st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]))
    )
    if draw(st.integers(0, 3)) == 0:
        query = draw(st.dictionaries(st.sampled_from(PARAMETERS) | TEXT, TEXT, max_size=3))
        section, name = draw(st.sampled_from(SECTIONS)), quoted(draw(TEXT | NAMES))
        path = draw(st.sampled_from([f"{section}/", f"{section}/{name}/", "check", "check/batch", "explain", "menu/", name]))
        method, body = draw(st.sampled_from(METHODS)), draw(st.binary(max_size=60) | VALUE.map(encoded))
        return Sent(who, method, address(path, query), b"" if method == "GET" else body, token)
    if draw(st.integers(0, 3)) == 0:
        path = draw(st.sampled_from(["check", "explain", "check/batch"]))
        asked = spoiled(draw, QUESTION)
        return Sent(
            who, "POST", address(path, {}), encoded({"checks": [QUESTION, asked]} if path == "check/batch" else asked), token
        )
    noun = draw(st.sampled_from(NOUNS))
    line = draw(st.sampled_from([noun.line, noun.changed]))
    method = draw(st.sampled_from(METHODS))
    own = st.just(THERE[noun.section])
    if method != "POST" and noun.section != "bindings" and draw(st.booleans()):
        line = {**line, noun.key: THERE[noun.section]}  # else it is renamed
    path = f"{noun.section}/" if method == "POST" else f"{noun.section}/{quoted(draw(own | own | TEXT | NAMES))}/"
    if method == "GET" and draw(st.booleans()):
        query = draw(st.dictionaries(st.sampled_from(sorted(VIEWS[noun.section].filters) + PARAMETERS[:4]), TEXT, max_size=2))
        return Sent(who, method, address(f"{noun.section}/", query), b"", token)
    changes = draw(st.sampled_from([noun.patch, line])) if method == "PATCH" else line
    return Sent(who, method, address(path, {}), b"" if method == "GET" else encoded(spoiled(draw, changes)), token)


def encoded(value: Any) -> bytes:
    return json.dumps(value).encode()


def quoted(text: str) -> str:
    return quote(text, safe="", errors="replace")


def address(path: str, query: dict[str, str]) -> str:
    asked = "&".join(f"{quoted(name)}={quoted(value)}" for name, value in query.items())
    return f"/api/v1/{path}?{asked}" if asked else f"/api/v1/{path}"


@settings(max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(sent=requests())
def test_nothing_that_is_sent_is_answered_with_a_fault(cast: Cast, sent: Sent) -> None:
    api: Api = getattr(cast, sent.who)
    headers = {} if sent.token is None else {"X_Permission_Token": sent.token}
    # Each request meets the same world: one that deletes the realm would leave nothing to the others.
    with transaction.atomic():
        path = sent.path.replace("BINDING", str(RoleBinding.objects.latest("pk").pk))
        answer = api.send(sent.method, path, raw=sent.body, **headers)
        transaction.set_rollback(True)
    assert answer.status < 500, (sent, answer.body)
    if answer.status >= 400:
        assert answer.code
    elif answer.status != 204:
        assert answer.headers["Content-Type"] == "application/json"
        json.loads(answer.body)
