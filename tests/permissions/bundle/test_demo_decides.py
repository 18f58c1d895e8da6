"""The demo's world decides as its first lines promise."""

from __future__ import annotations

from pathlib import Path

import pytest

from permissions import pdp
from permissions.bundle.diff import diff
from permissions.bundle.reader import read
from permissions.models import Realm
from permissions.services.bundles import bundle_apply
from permissions.services.specs import export_bundle
from permissions.writing import SYSTEM

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

PATH = Path(__file__).resolve().parents[3] / "permsite/demo.yaml"
BUNDLE = read(PATH.read_text(encoding="utf-8"), name="demo.yaml")


@pytest.fixture(autouse=True)
def _demo() -> None:
    pdp.reset()
    bundle_apply(actor=SYSTEM, bundle=BUNDLE)


PROMISES = [
    ("user:alice", "message:send", "channel:general", True, "granted"),
    ("user:bob", "message:send", "channel:general", True, "granted"),
    ("user:bob", "message:send", "channel:announcements", False, "explicit_deny"),
    ("user:alice", "message:send", "channel:announcements", True, "granted"),
    ("user:bob", "message:read", "channel:announcements", True, "granted"),
    ("user:charlie", "message:send", "channel:general", False, "not_yet_valid"),
    ("user:charlie", "server:view", "server:plaza", True, "granted"),
    ("user:mallory", "message:send", "channel:general", False, "explicit_deny"),
    ("user:mallory", "message:read", "channel:general", True, "granted"),
    ("user:bob", "channel:view", "channel:staff", False, "no_grant"),
    ("user:erin", "channel:view", "channel:staff", True, "granted"),
    ("user:erin", "channel:view", "channel:staff-logs", True, "granted"),
    ("user:dana", "channel:edit", "channel:random", True, "granted"),
    ("user:dana", "channel:edit", "channel:general", False, "condition_false"),
    ("user:bob", "channel:edit", "channel:random", False, "condition_false"),
    ("user:eve", "message:read", "channel:general", True, "granted"),
    ("user:heidi", "message:delete:any", "channel:general", False, "expired"),
    ("user:frank", "message:send", "channel:general", False, "subject_inactive"),
    ("user:grace", "message:send", "channel:general", False, "subject_inactive"),
    ("user:nobody", "message:send", "channel:general", False, "unknown_subject"),
    ("user:erin", "report:export", "report:weekly", True, "granted"),
    ("user:dana", "report:export", "report:weekly", False, "explicit_deny"),
    ("user:alice", "report:export", "report:weekly", True, "granted"),
    ("agent:digest", "message:read", "channel:random", True, "granted"),
    ("agent:digest", "message:send", "channel:random", False, "no_grant"),
    ("user:kim", "apps/deployments/scale:update", "namespace:shop", True, "granted"),
    ("user:kim", "core/secrets:get", "namespace:kube-system", False, "explicit_deny"),
    ("user:kim", "core/secrets:get", "namespace:shop", True, "granted"),
    ("user:alice", "core/pods/exec:create", "namespace:kube-system", True, "granted"),
    ("user:alice", "permsite.binding:create", "channel:general", True, "granted"),
    ("user:alice", "permsite.binding:create", "cluster:demo", False, "no_grant"),
    ("user:admin", "permsite.realm:change", None, True, "granted"),
    ("user:admin", "message:send", "channel:general", False, "no_grant"),
]


def test_it_keeps_its_promises() -> None:
    asked = [{"subject": subject, "permission": code, "resource": resource} for subject, code, resource, _, _ in PROMISES]
    said = [(decision.allowed, decision.reason) for decision in pdp.check_many(asked)]
    assert [(promise, answer) for promise, answer in zip(PROMISES, said, strict=True) if answer != promise[3:]] == []


def test_a_second_factor_opens_what_a_condition_guards() -> None:
    assert not pdp.check("user:erin", "member:ban", "server:plaza")
    assert pdp.check("user:erin", "member:ban", "server:plaza", context={"mfa": True})


def test_the_build_server_acts_on_its_branch_alone() -> None:
    for branch, allowed in (("main", True), ("wip", False)):
        decision = pdp.check("service:ci", "apps/deployments:update", "namespace:shop", context={"branch": branch})
        assert decision.allowed is allowed


def test_an_obligation_comes_with_the_answer() -> None:
    assert [o["id"] for o in pdp.check("user:erin", "report:export", "report:weekly").obligations] == ["watermark"]


def test_exported_and_applied_again_it_changes_nothing() -> None:
    exported = export_bundle(Realm.objects.get(name="default"))
    assert diff(exported, BUNDLE, prune=True) == []
    assert list(bundle_apply(actor=SYSTEM, bundle=exported, prune=True).changes) == []
