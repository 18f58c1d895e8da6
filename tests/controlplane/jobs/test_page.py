"""The page of maintenance and jobs: what it shows, and what its forms do."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from controlplane.jobs import service
from controlplane.jobs.worker import Worker
from controlplane.models import ConfigRevision, OperationRun
from controlplane.pages import find
from controlplane.pages.base import Look
from tests.controlplane.jobs.conftest import ROOT
from tests.permissions.api.world import Cast

pytestmark = pytest.mark.django_db(transaction=True)
PAGE = "/admin/control/maintenance/"


@pytest.fixture
def desks(cast: Cast) -> dict[str, Client]:
    User.objects.update(is_staff=True)
    return {name: getattr(cast, name).client for name in ("bob", "charlie", "root")}


def text_of(answer: Any) -> str:
    assert answer.status_code == 200, answer.status_code
    return str(answer.content.decode())


def send(desk: Client, action: str, **fields: str) -> str:
    return text_of(desk.post(PAGE, {"action": action, "change_reason": "asked to", **fields}, follow=True))


def test_without_jobs_it_says_so_and_offers_to_start_one(desks: dict[str, Client]) -> None:
    page = text_of(desks["bob"].get(PAGE))
    for text in (
        "No jobs.",
        "Start one below.",
        "Verify the audit",
        "Import a bundle",
        "No maintenance",
        "Readiness",
        "database",
    ):
        assert text in page


def test_a_job_is_started_followed_ended_and_done_again(desks: dict[str, Client]) -> None:
    assert "was asked for" in send(desks["bob"], "job_start", kind="verify_audit", realm="default")
    run = OperationRun.objects.get()
    assert (run.reason, run.arguments, run.actor) == ("asked to", {"realm": "default"}, "user:bob")
    assert "has ended" in send(desks["bob"], "job_cancel", run=str(run.id))
    assert "was asked for" in send(desks["bob"], "job_repeat", run=str(run.id))
    while Worker().once():
        pass
    part = text_of(desks["bob"].get(PAGE, {"part": "jobs"}))
    assert "entries fit" in part and 'value="100"' in part and "cancelled" in part
    assert "entries fit" not in text_of(desks["bob"].get(PAGE, {"part": "jobs", "state": "cancelled"}))


def test_a_bundle_is_imported_from_the_form(desks: dict[str, Client]) -> None:
    send(desks["root"], "job_start", kind="import", bundle="version: 1\nrealm: default\nroles: [{name: fromform}]", dry_run="on")
    assert Worker().once()
    run = OperationRun.objects.get()
    assert run.state == "done" and run.arguments["dry_run"] is True and run.arguments["prune"] is False


def test_what_is_wrong_is_told_and_does_nothing(desks: dict[str, Client]) -> None:
    assert "must be one of" in send(desks["bob"], "job_start", kind="nothing")
    assert "there is no job" in send(desks["bob"], "job_cancel", run="x")
    assert "Say why" in text_of(desks["bob"].post(PAGE, {"action": "job_start", "kind": "verify_audit"}, follow=True))
    assert "is missing" in send(desks["bob"], "job_start", kind="import", bundle="")
    assert not OperationRun.objects.exists()


def test_a_log_and_a_reason_are_text_and_never_markup(desks: dict[str, Client]) -> None:
    run = service.start("verify_audit", actor=ROOT, reason="<b>why</b>")
    OperationRun.objects.filter(id=run.id).update(log=[["2026-01-01T00:00:00", "<script>x</script>"]], error="<i>")
    page = text_of(desks["bob"].get(PAGE))
    assert "<script>x" not in page and "<b>why" not in page and "&lt;script&gt;x" in page


def test_the_preview_is_what_callers_would_read_and_turns_nothing(desks: dict[str, Client]) -> None:
    typed = {"mode": "full", "reason": "moving <b>disks</b>", "until": "2099-12-31T04:00", "version": "0"}
    page = text_of(desks["bob"].post(PAGE, {"action": "preview", **typed}))
    assert "What browsers get" in page and "It is meant to end at 2099-12-31 04:00 UTC" in page
    assert "moving &lt;b&gt;disks" in page and "moving <b>" not in page
    assert "/problems/maintenance" in page
    assert 'value="2099-12-31T04:00"' in page  # what was typed is still there
    assert "must be a time such as" in text_of(desks["bob"].post(PAGE, {"action": "preview", "mode": "full", "until": "soon"}))
    assert not ConfigRevision.objects.exists()


def test_how_the_switch_was_turned_is_shown_with_who_and_why(desks: dict[str, Client]) -> None:
    send(desks["bob"], "turn", version="0", mode="read_only", reason="new disks")
    page = text_of(desks["bob"].get(PAGE))
    assert "writes are refused" in page and "asked to" in page and "user:bob" in page


def test_who_only_looks_sees_buttons_that_say_what_is_missing(desks: dict[str, Client]) -> None:
    from tests.worlds import apply

    apply('version: 1\nrealm: default\nbindings: [{subject: "user:charlie", role: watcher}]')
    page = text_of(desks["charlie"].get(PAGE))
    assert "This needs permsite.control:operate on permsite.control:maintenance." in page
    assert "this needs permsite.control:operate" in send(desks["charlie"], "job_start", kind="verify_audit")
    assert not OperationRun.objects.exists()


def test_the_snapshot_is_data(desks: dict[str, Client]) -> None:
    service.start("verify_audit", actor=ROOT)
    page = find("maintenance")
    assert page is not None
    told = json.loads(json.dumps(page.snapshot(Look(ROOT, "maintenance", {}))))
    assert told["jobs"][0]["kind"] == "verify_audit" and told["switch"]["mode"] == "off"
    assert told["readiness"]["components"]["database"]["state"] == "ok"
