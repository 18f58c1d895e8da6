"""Each way in which something can be held is found by every search, whether candidates are listed or walked."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest

from permissions import pdp
from permissions.bundle.reader import read
from permissions.engine.types import Request
from permissions.lookup import candidates
from permissions.services.bundles import bundle_apply
from permissions.writing import SYSTEM

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

DORA = "user:dora"
PAST, FUTURE = "2020-01-01T00:00:00Z", "2090-01-01T00:00:00Z"
# name → (bindings, what is asked beside who, code and resource; whether it is given)
WAYS: dict[str, tuple[list[dict[str, Any]], dict[str, Any], bool]] = {
    "a role at the realm": ([{"subject": DORA, "role": "reader"}], {}, True),
    "a role that inherits": ([{"subject": DORA, "role": "editor"}], {}, True),
    "a role at the resource": ([{"subject": DORA, "role": "reader", "scope": "post:1"}], {}, True),
    "a role above": ([{"subject": DORA, "role": "reader", "scope": "blog:1"}], {}, True),
    "a role far above": ([{"subject": DORA, "role": "reader", "scope": "site:1"}], {}, True),
    "a role elsewhere": ([{"subject": DORA, "role": "reader", "scope": "post:2"}], {}, False),
    "above, without reaching below": ([{"subject": DORA, "role": "reader", "scope": "blog:1", "propagate": False}], {}, False),
    "at the resource alone": ([{"subject": DORA, "role": "reader", "scope": "post:1", "propagate": False}], {}, True),
    "at the realm alone": ([{"subject": DORA, "role": "reader", "propagate": False}], {}, False),
    "a direct code": ([{"subject": DORA, "allow": ["post:read"]}], {}, True),
    "a direct pattern": ([{"subject": DORA, "allow": ["post:r*"], "scope": "blog:1"}], {}, True),
    "a direct code that is another": ([{"subject": DORA, "allow": ["post:edit"]}], {}, False),
    "everything": ([{"subject": DORA, "allow": ["*"]}], {}, True),
    "a condition of the role's line": ([{"subject": DORA, "role": "careful"}], {"context": {"mfa": True}}, True),
    "a condition that is false": ([{"subject": DORA, "role": "careful"}], {"context": {"mfa": False}}, False),
    "a condition of the binding": (
        [{"subject": DORA, "role": "reader", "condition": "subject.attributes.level > 2"}],
        {"subject_properties": {"level": 3}},
        True,
    ),
    "a condition on the resource": (
        [{"subject": DORA, "role": "reader", "condition": "resource.attributes.open == true"}],
        {"resource_properties": {"open": True}},
        True,
    ),
    "a role with a window": ([{"subject": DORA, "role": "lasting"}], {}, True),
    "a role that has ended": ([{"subject": DORA, "role": "ended"}], {}, False),
    "a binding with a window": ([{"subject": DORA, "role": "reader", "valid_from": PAST, "valid_until": FUTURE}], {}, True),
    "a binding that has ended": ([{"subject": DORA, "role": "reader", "valid_until": PAST}], {}, False),
    "a role with a duty": ([{"subject": DORA, "role": "dutiful"}], {}, True),
    "a binding with a duty": ([{"subject": DORA, "role": "reader", "obligations": [{"id": "1", "type": "x"}]}], {}, True),
    "a team": ([{"subject": "team:inner", "role": "reader"}], {}, True),
    "a team around the team": ([{"subject": "team:outer", "role": "reader", "scope": "blog:1"}], {}, True),
    "a team far around": ([{"subject": "team:outmost", "allow": ["post:read"]}], {}, True),
    "a team that was left": ([{"subject": "team:left", "role": "reader"}], {}, False),
    "a team that the caller names": (
        [{"subject": "team:other", "role": "reader"}],
        {"subject_properties": {"teams": ["other"]}, "asserted": "override"},
        True,
    ),
    "a team around one that the caller names": (
        [{"subject": "team:around", "role": "reader"}],
        {"subject_properties": {"teams": ["team:other"]}, "asserted": "override"},
        True,
    ),
    "a team that a caller may not name": (
        [{"subject": "team:other", "role": "reader"}],
        {"subject_properties": {"teams": ["other"]}},
        False,
    ),
    "everyone": ([{"subject": "user:*", "role": "reader"}], {}, True),
    "everyone at the resource": ([{"subject": "user:*", "role": "careful", "scope": "post:1"}], {"context": {"mfa": True}}, True),
    "everyone above": ([{"subject": "user:*", "allow": ["post:*"], "scope": "blog:1"}], {}, True),
    "everyone of another type": ([{"subject": "agent:*", "role": "reader"}], {}, False),
    "a deny": ([{"subject": DORA, "role": "reader"}, {"subject": DORA, "deny": ["post:read"], "scope": "blog:1"}], {}, False),
    "a requirement that is not met": ([{"subject": DORA, "allow": ["post:share"]}], {"permission": "post:share"}, False),
    "a requirement that is met": (
        [{"subject": DORA, "allow": ["post:share"], "scope": "post:1"}, {"subject": "team:outer", "role": "reader"}],
        {"permission": "post:share"},
        True,
    ),
    "kept away by a private node": ([{"subject": DORA, "role": "reader"}], {"resource": "post:private"}, False),
    "below a private node": (
        [{"subject": DORA, "role": "reader", "scope": "blog:private"}],
        {"resource": "post:private"},
        True,
    ),
}


def own(value: Any, number: int) -> Any:
    """The same with a type and teams of the way's own, so that all ways live in one realm and none reaches another."""
    text = re.sub(r'"team:(\w+)"', rf'"team:\g<1>{number}"', json.dumps(value)).replace('"other"', f'"other{number}"')
    return json.loads(text.replace('"user:', f'"way{number}:').replace('"agent:', f'"agent{number}:'))


def people(number: int) -> dict[str, Any]:
    return own(
        {
            "subjects": [{"id": ref} for ref in (DORA, "user:ann", "user:zoe", "agent:a")],
            "teams": [
                {"id": "team:inner", "members": [DORA]},
                {"id": "team:outer", "members": ["team:inner"]},
                {"id": "team:outmost", "members": ["team:outer"]},
                {"id": "team:left", "members": [{"id": DORA, "valid_until": PAST}]},
                {"id": "team:other"},
                {"id": "team:around", "members": ["team:other"]},
            ],
        },
        number,
    )


@pytest.fixture
def _ways() -> None:
    reader = ["post:read"]
    bundle: dict[str, Any] = {
        "version": 1,
        "realm": "default",
        "permissions": [{"code": "post:read"}, {"code": "post:edit"}, {"code": "post:share", "requires": ["post:read"]}],
        "roles": [
            {"name": "reader", "permissions": reader},
            {"name": "editor", "inherits": ["reader"], "permissions": ["post:edit"]},
            {"name": "careful", "permissions": [{"code": "post:read", "condition": "context.mfa == true"}]},
            {"name": "lasting", "permissions": reader, "valid_from": PAST, "valid_until": FUTURE},
            {"name": "ended", "permissions": reader, "valid_until": PAST},
            {"name": "dutiful", "permissions": reader, "obligations": [{"id": "1", "type": "x"}]},
        ],
        "resources": [
            {"id": "site:1"},
            {"id": "blog:1", "parent": "site:1"},
            {"id": "post:1", "parent": "blog:1"},
            {"id": "post:2"},
            {"id": "blog:private", "inherit": False},
            {"id": "post:private", "parent": "blog:private"},
        ],
        "subjects": [],
        "teams": [],
        "bindings": [],
    }
    for number, (bindings, _asked, _given) in enumerate(WAYS.values()):
        bundle["bindings"] += own(bindings, number)
        for section, rows in people(number).items():
            bundle[section] += rows
    bundle_apply(actor=SYSTEM, bundle=read(json.dumps(bundle), name="ways.json"))


@pytest.fixture(params=["listed", "walked"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "walked":
        monkeypatch.setattr(candidates, "MOST_LISTED", 0)
        monkeypatch.setattr(candidates, "WALKED", 2)
        monkeypatch.setattr(candidates, "FIRST_WALKED", 2)
    return str(request.param)


@pytest.mark.usefixtures("_ways", "way")
def test_each_way_is_found_by_each_search() -> None:
    for number, (name, (_bindings, asked, is_given)) in enumerate(WAYS.items()):
        dora, *others = own([DORA, "user:ann", "user:zoe"], number)
        request = Request(dora, **{"permission": "post:read", "resource": "post:1", **own(asked, number)})
        asked_of = {dora: request, **{ref: replace(request, subject=ref) for ref in others}}
        asked_of |= {ref: replace(request, resource=ref) for ref in ("post:1", "post:2", "post:private")}
        asked_of |= {code: replace(request, permission=code) for code in ("post:edit", "post:read", "post:share")}
        decisions = pdp.decide_many(list(asked_of.values()))
        allowed = sorted(what for what, decision in zip(asked_of, decisions, strict=True) if decision)
        assert (dora in allowed) is is_given, f"{name}: what is expected of it"
        found = [
            *pdp.search_subjects(request, f"way{number}").results,
            *pdp.search_resources(request, "post").results,
            *(f"post:{action}" for action in pdp.search_actions(request).results),
        ]
        assert sorted(found) == allowed, name
