"""/api/v1/system/jobs: started, looked at, ended, repeated; who may; what is refused."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from jsonschema import Draft202012Validator

from controlplane.jobs import importing
from controlplane.jobs.worker import Worker
from controlplane.models import OperationRun
from permissions.api import components
from permissions.models import AuditEvent, Role
from tests.permissions.api.world import Cast, refused
from tests.worlds import apply

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]
PATH = "system/jobs"
BUNDLE = "version: 1\nrealm: default\nroles:\n  - {name: imported, title: Imported}\n"


def fits(body: Any, shape: str = "Job") -> Any:
    schemas = components.components()["schemas"]
    Draft202012Validator({**schemas[shape], "components": {"schemas": schemas}}).validate(body)
    return body


def test_a_job_is_asked_for_made_and_looked_at(cast: Cast) -> None:
    answer = cast.bob.post(PATH, {"kind": "verify_audit", "arguments": {"realm": "default"}, "reason": "monthly"})
    assert answer.status == 202
    job = fits(answer.json)
    assert (job["state"], job["actor"], job["reason"], job["arguments"]) == (
        "waiting",
        "user:bob",
        "monthly",
        {"realm": "default"},
    )
    assert len(job["trace_id"]) == 32 and job["request_id"] == answer.headers["X-Request-ID"]
    assert Worker().once()
    job = fits(cast.bob.get(f"{PATH}/{job['id']}").json)
    assert job["state"] == "done" and job["result"]["ok"] is True and "entries fit" in job["log"][-1]["text"]
    listed = fits(cast.bob.get(f"{PATH}?state=done&kind=verify_audit&limit=1").json, "Jobs")
    assert [each["id"] for each in listed["jobs"]] == [job["id"]]
    assert {each["kind"] for each in listed["kinds"]} == {"warm_cache", "verify_audit", "import"}
    assert cast.bob.get(f"{PATH}?state=failed").json["jobs"] == []


def test_one_that_waits_is_ended_and_done_again(cast: Cast) -> None:
    job = cast.bob.post(PATH, {"kind": "verify_audit"}).json
    ended = cast.bob.post(f"{PATH}/{job['id']}/cancel", {"reason": "too early"})
    assert (ended.status, ended.json["state"]) == (202, "cancelled")
    refused(cast.bob.post(f"{PATH}/{job['id']}/cancel", {}), 409, "conflict")
    again = cast.bob.post(f"{PATH}/{job['id']}/repeat", {"reason": "now"}).json
    assert (again["state"], again["repeat_of"]) == ("waiting", job["id"])
    refused(cast.bob.post(f"{PATH}/{again['id']}/repeat", {}), 409, "conflict")
    assert {"control_job_start", "control_job_cancel", "control_job_repeat"} <= set(
        AuditEvent.objects.filter(actor="user:bob").values_list("action", flat=True)
    )


def test_a_key_that_was_sent_twice_starts_one_job(cast: Cast) -> None:
    sent = {"kind": "verify_audit", "key": "nightly-1"}
    first, second = cast.bob.post(PATH, sent).json, cast.bob.post(PATH, sent).json
    assert first["id"] == second["id"] and OperationRun.objects.count() == 1
    refused(cast.bob.post(PATH, {**sent, "arguments": {"realm": "default"}}), 409, "conflict")


def test_a_bundle_is_imported_whole_with_its_reason_and_shown_by_its_digest(cast: Cast) -> None:
    sent = {"kind": "import", "arguments": {"bundle": BUNDLE}, "reason": "new role"}
    answer = cast.root.post(PATH, sent)
    job = fits(answer.json)
    assert "sha256" in job["arguments"]["bundle"] and "imported" not in job["arguments"]["bundle"]
    assert not Role.objects.filter(name="imported").exists()
    assert Worker().once()
    job = cast.root.get(f"{PATH}/{job['id']}").json
    assert (job["state"], job["result"]["changes"]) == ("done", 1)
    assert Role.objects.filter(name="imported").exists()
    entry = AuditEvent.objects.get(object_type="role", object_id="imported")
    assert (entry.reason, entry.request_id, entry.actor) == ("new role", job["request_id"], "user:root")


def test_a_dry_run_only_says_what_would_change(cast: Cast) -> None:
    cast.root.post(PATH, {"kind": "import", "arguments": {"bundle": BUNDLE, "dry_run": True}})
    assert Worker().once()
    run = OperationRun.objects.get()
    assert run.state == "done" and (run.result or {})["dry_run"] is True and any("imported" in text for _, text in run.log)
    assert not Role.objects.filter(name="imported").exists()


def test_who_may_not_write_such_a_line_cannot_have_a_job_write_it(cast: Cast) -> None:
    # bob operates the site, and holds nothing that would let him make roles.
    job = cast.bob.post(PATH, {"kind": "import", "arguments": {"bundle": BUNDLE}}).json
    assert Worker().once()
    run = OperationRun.objects.get(id=job["id"])
    assert run.state == "failed" and "permsite.role:create" in run.error
    assert not Role.objects.filter(name="imported").exists()


def test_a_dry_run_does_not_tell_what_another_realm_holds(cast: Cast) -> None:
    # A line that is there already would be told as no change, one that is not as a refusal.
    bundle = 'version: 1\nrealm: other\nsubjects: [{id: "user:hidden"}]\n'
    apply(bundle)
    sent = {"kind": "import", "arguments": {"bundle": bundle, "dry_run": True}}
    for asking in (cast.bob, cast.bobs_key, cast.admin_key):
        refused(asking.post(PATH, sent), 403, "forbidden")
    assert not OperationRun.objects.exists()
    assert cast.root.post(PATH, sent).status == 202


def test_no_argument_is_read_for_who_may_start_nothing(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    # Reading a large bundle takes seconds, in which the process answers nobody.
    monkeypatch.setattr(importing, "read", lambda *args, **options: pytest.fail("the bundle was read"))
    refused(cast.charlie.post(PATH, {"kind": "import", "arguments": {"bundle": BUNDLE}}), 403, "forbidden")
    for kind in ("verify_audit", "warm_cache"):
        refused(cast.charlie.post(PATH, {"kind": kind, "arguments": {"realm": "nowhere"}}), 403, "forbidden")


@pytest.mark.parametrize(
    ("sent", "where"),
    [
        ({}, "kind"),
        ({"kind": "nothing"}, "kind"),
        ({"kind": "verify_audit", "more": 1}, "more"),
        ({"kind": "verify_audit", "arguments": []}, "arguments"),
        ({"kind": "verify_audit", "arguments": {"realms": "x"}}, "arguments.realms"),
        ({"kind": "verify_audit", "arguments": {"realm": 7}}, "arguments.realm"),
        ({"kind": "verify_audit", "arguments": {"realm": "x" * 10_000}}, "arguments.realm"),
        ({"kind": "warm_cache", "arguments": {"rate": True}}, "arguments.rate"),
        ({"kind": "warm_cache", "arguments": {"rate": 0}}, "arguments.rate"),
        ({"kind": "warm_cache", "arguments": {"rate": "fast"}}, "arguments.rate"),
        ({"kind": "import"}, "arguments.bundle"),
        ({"kind": "import", "arguments": {"bundle": ""}}, "arguments.bundle"),
        ({"kind": "import", "arguments": {"bundle": "a\x00b"}}, "arguments.bundle"),
        ({"kind": "import", "arguments": {"bundle": BUNDLE, "prune": 1}}, "arguments.prune"),
        ({"kind": "verify_audit", "reason": 7}, "reason"),
        ({"kind": "verify_audit", "reason": "a\nb"}, "reason"),
        ({"kind": "verify_audit", "key": "x" * 201}, "key"),
    ],
)
def test_bad_input_is_told_with_its_place_and_starts_nothing(cast: Cast, sent: dict[str, Any], where: str) -> None:
    answer = cast.root.post(PATH, sent)
    refused(answer, 400, "invalid")
    assert where in str(answer.json)
    assert not OperationRun.objects.exists()


def test_a_bundle_with_a_mistake_is_refused_before_there_is_a_job(cast: Cast) -> None:
    answer = cast.root.post(PATH, {"kind": "import", "arguments": {"bundle": "version: 1\nrealm: default\nroles: [{nmae: x}]"}})
    refused(answer, 400, "invalid")
    assert "nmae" in str(answer.json) and not OperationRun.objects.exists()


@pytest.mark.parametrize("query", ["state=over", "limit=0", "limit=201", "limit=x", "limit=-1", "limit=%D9%A3", "other=1"])
def test_a_wrong_filter_is_refused(cast: Cast, query: str) -> None:
    refused(cast.bob.get(f"{PATH}?{query}"), 400, "bad_request")


def test_a_job_or_realm_that_there_is_not(cast: Cast) -> None:
    for path in (f"{PATH}/{uuid4()}", f"{PATH}/not-a-job"):
        assert cast.bob.get(path).status == 404
    refused(cast.bob.post(f"{PATH}/{uuid4()}/cancel", {}), 404, "not_found")
    refused(cast.bob.post(PATH, {"kind": "verify_audit", "arguments": {"realm": "nowhere"}}), 404, "not_found")


def test_only_who_operates_starts_and_ends_and_only_who_looks_sees(cast: Cast) -> None:
    job = cast.bob.post(PATH, {"kind": "verify_audit"}).json
    for asked in (
        cast.charlie.get(PATH),
        cast.charlie.get(f"{PATH}/{job['id']}"),
        cast.charlie.post(PATH, {"kind": "verify_audit"}),
        cast.charlie.post(PATH, {"kind": "warm_cache"}),
        cast.charlie.post(f"{PATH}/{job['id']}/cancel", {}),
        cast.charlie.post(f"{PATH}/{job['id']}/repeat", {}),
    ):
        refused(asked, 403, "forbidden")
    assert OperationRun.objects.get().state == "waiting"
