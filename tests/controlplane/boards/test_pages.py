"""The boards as pages without a script: what they show, what their forms do, and who may."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.contrib.messages import get_messages
from django.test import Client

from controlplane.services import boards
from resilience import registry
from resilience.lock import LockFactory
from tests.permissions.api.world import Api, Cast

CACHE, BOARD, LIMITS = "/admin/control/cache/", "/admin/control/resilience/", "/admin/control/limits/"
PAGES = (CACHE, BOARD, LIMITS)


@pytest.fixture
def desks(cast: Cast, watcher: Api) -> dict[str, Client]:
    """bob operates, charlie looks, nobody of these may; all are staff."""
    User.objects.update(is_staff=True)
    nobody = Client()
    nobody.force_login(User.objects.create_user("eve", is_staff=True))
    return {"bob": cast.bob.client, "charlie": watcher.client, "eve": nobody, "root": cast.root.client}


def text_of(answer: Any) -> str:
    assert answer.status_code == 200, answer.status_code
    return str(answer.content.decode())


def said(answer: Any) -> str:
    assert answer.status_code == 302, answer.status_code
    return " ".join(str(message) for message in get_messages(answer.wsgi_request))


@pytest.mark.parametrize("page", PAGES)
def test_each_page_opens_for_who_may_look_and_for_nobody_else(desks: dict[str, Client], page: str) -> None:
    text_of(desks["bob"].get(page))
    looked = text_of(desks["charlie"].get(page))
    assert desks["eve"].get(page).status_code == 403
    assert Client().get(page).status_code == 302
    if page == CACHE:
        assert "disabled" in looked and "This needs permsite.control:operate on permsite.control:cache." in looked


@pytest.mark.parametrize("page", PAGES)
def test_a_part_alone_is_the_same_as_in_the_page(desks: dict[str, Client], page: str) -> None:
    part = desks["bob"].get(page, {"part": "board"})
    assert part.status_code == 200
    assert "no-store" in part["Cache-Control"]
    assert "<html" not in text_of(part)
    assert desks["bob"].get(page, {"part": "nothing"}).status_code == 404


@pytest.mark.parametrize("page", PAGES)
def test_nothing_of_a_page_needs_a_script_or_an_inline_style(desks: dict[str, Client], page: str) -> None:
    text = text_of(desks["bob"].get(page)).partition('id="content-main"')[2]
    assert "style=" not in text
    assert "<script>" not in text
    assert "onclick" not in text


@pytest.mark.parametrize("name", ["cache", "resilience", "limits"])
def test_the_snapshot_is_json(cast: Cast, name: str) -> None:
    registry.breaker("billing")
    registry.limiter("guess", limit=5, period_s=60.0)
    registry.bulkhead("reports", max_concurrent=3)
    answer = cast.bob.get(f"system/snapshot/{name}")
    assert answer.status == 200
    assert answer.json["data"]


# Resilience


def test_a_breaker_is_forced_and_let_go_by_its_form(desks: dict[str, Client], committed: Callable[[], Any]) -> None:
    registry.breaker("billing")
    where = BOARD + "?breaker=billing"
    assert "Force open" in text_of(desks["bob"].get(where))
    with committed():
        told = said(
            desks["bob"].post(where, {"action": "force_open", "name": "billing", "for_s": "900", "change_reason": "they move"})
        )
    assert "billing is forced open: every call is refused until" in told
    page = text_of(desks["bob"].get(where))
    assert "forced open" in page and "user:bob" in page and "they move" in page
    with committed():
        told = said(desks["bob"].post(where, {"action": "auto", "name": "billing", "change_reason": "over"}))
    assert "follows what is measured again" in told
    assert registry.breaker("billing").state == "closed"


def test_a_moment_of_the_form_is_utc_and_goes_before_the_span(desks: dict[str, Client], committed: Callable[[], Any]) -> None:
    import time

    billing = registry.breaker("billing")
    until = time.strftime("%Y-%m-%dT%H:%M", time.gmtime(time.time() + 7_200))
    sent = {"action": "force_closed", "name": "billing", "for_s": "300", "until": until, "change_reason": "why"}
    with committed():
        said(desks["bob"].post(BOARD, sent))
    assert (billing.snapshot().force_until or 0) > time.time() + 7_000


WRONG_FORMS: list[tuple[str, dict[str, str], str]] = [
    (BOARD, {"action": "force_open", "name": "billing", "change_reason": ""}, "Say why"),
    (BOARD, {"action": "force_open", "name": "billing", "change_reason": "a\nb"}, "Say why"),
    (BOARD, {"action": "force_open", "name": "billing", "change_reason": "a" * 501}, "at most 500"),
    (BOARD, {"action": "force_open", "name": "nobody", "change_reason": "x"}, "there is no breaker nobody"),
    (BOARD, {"action": "force_open", "name": "\u202e", "change_reason": "x"}, "there is no breaker"),
    (BOARD, {"action": "force_open", "name": "billing", "for_s": "nan", "change_reason": "x"}, "must be a finite number"),
    (BOARD, {"action": "force_open", "name": "billing", "for_s": "-5", "change_reason": "x"}, "must be 1 to 2592000"),
    (BOARD, {"action": "force_open", "name": "billing", "for_s": "five", "change_reason": "x"}, "must be a number"),
    (BOARD, {"action": "force_open", "name": "billing", "until": "never", "change_reason": "x"}, "must be a time such as"),
    (BOARD, {"action": "force_open", "name": "billing", "until": "2001-01-01T00:00", "change_reason": "x"}, "a time to come"),
    (BOARD, {"action": "drain", "name": "nobody", "for_s": "60", "change_reason": "x"}, "there is no bulkhead"),
    (BOARD, {"action": "break", "name": "a lock", "change_reason": "x"}, "it takes 1 to 100 letters"),
    (BOARD, {"action": "break", "name": "free", "change_reason": "x"}, "nobody holds the lock free"),
    (LIMITS, {"action": "reset", "rule": "nobody", "key": "k", "change_reason": "x"}, "there is no limiter"),
    (LIMITS, {"action": "reset", "rule": "guess", "key": "", "change_reason": "x"}, "must not be empty"),
    (LIMITS, {"action": "override", "rule": "guess", "key": "k", "limit": "0", "version": "0", "change_reason": "x"}, "limit"),
    (LIMITS, {"action": "override", "rule": "guess", "key": "k", "limit": "1_0", "version": "0", "change_reason": "x"}, "limit"),
    (LIMITS, {"action": "shadow", "rule": "guess", "on": "perhaps", "version": "0", "change_reason": "x"}, "true or false"),
    (LIMITS, {"action": "shadow", "rule": "guess", "on": "yes", "version": "7", "change_reason": "x"}, "version 0 is in force"),
    (LIMITS, {"action": "shadow", "rule": "guess", "on": "yes", "change_reason": "x"}, "version 0 is in force"),
    (CACHE, {"action": "flush", "tag": "user", "realm": "default", "change_reason": "x"}, "must be one of"),
    (CACHE, {"action": "flush", "tag": "all", "realm": "nowhere", "change_reason": "x"}, "there is no realm"),
    (CACHE, {"action": "warm", "realm": "nowhere", "change_reason": "x"}, "there is no realm"),
    (CACHE, {"action": "warm", "rate": "fast", "change_reason": "x"}, "must be a number"),
    (CACHE, {"action": "warm", "rate": "inf", "change_reason": "x"}, "finite"),
]


@pytest.mark.parametrize(("page", "sent", "told"), WRONG_FORMS)
def test_a_wrong_form_says_what_is_wrong_and_changes_nothing(
    desks: dict[str, Client], page: str, sent: dict[str, str], told: str
) -> None:
    from permissions.models import AuditEvent

    billing, guess = registry.breaker("billing"), registry.limiter("guess", limit=5, period_s=60.0)
    assert told in said(desks["bob"].post(page, sent))
    assert billing.state == "closed"
    assert not guess.options["shadow"]
    last = AuditEvent.objects.filter(action__startswith="control_").order_by("-seq").first()
    assert last is None or (last.after or {})["outcome"].startswith("failed: Stale"), (
        "an older version was tried, and that is recorded"
    )


@pytest.mark.parametrize(("page", "sent"), [(page, sent) for page, sent, _ in WRONG_FORMS if sent["change_reason"] == "x"])
def test_who_may_only_look_is_told_what_is_missing_whatever_the_form_says(
    desks: dict[str, Client], page: str, sent: dict[str, str]
) -> None:
    registry.breaker("billing")
    registry.limiter("guess", limit=5, period_s=60.0)
    assert "permsite.control:operate" in said(desks["charlie"].post(page, sent))
    assert desks["eve"].post(page, sent).status_code == 403


def test_an_action_that_no_page_has_is_not_found(desks: dict[str, Client]) -> None:
    for page in PAGES:
        assert desks["bob"].post(page, {"action": "destroy", "change_reason": "x"}).status_code == 404


def test_a_form_needs_its_token(cast: Cast) -> None:
    User.objects.update(is_staff=True)
    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.get(username="root"))
    assert client.post(BOARD, {"action": "auto", "name": "database", "change_reason": "x"}).status_code == 403


def test_a_bulkhead_is_drained_and_opened_again(desks: dict[str, Client]) -> None:
    reports = registry.bulkhead("reports", max_concurrent=3)
    where = BOARD + "?bulkhead=reports"
    with reports:
        page = text_of(desks["bob"].get(where))
        assert "1 call is inside and finishes" in page
        told = said(desks["bob"].post(where, {"action": "drain", "name": "reports", "for_s": "60", "change_reason": "host"}))
        assert "admits nobody for 60 s; 1 calls are inside" in told
    assert "nobody for" in text_of(desks["bob"].get(BOARD))
    said(desks["bob"].post(where, {"action": "resume", "name": "reports", "change_reason": "done"}))
    assert reports.snapshot().drained_s <= 0


def test_a_lock_that_is_held_is_listed_looked_up_and_broken(desks: dict[str, Client]) -> None:
    lock = LockFactory().create("nightly", ttl_s=30.0)
    assert lock.acquire()
    try:
        page = text_of(desks["bob"].get(BOARD, {"lock": "nightly"}))
        assert str(lock.fence) in page and str(lock.token) in page
        told = said(desks["bob"].post(BOARD, {"action": "break", "name": "nightly", "change_reason": "it hangs"}))
        assert f"was taken from {lock.token}" in told
        assert not lock.renew()
        assert "Nobody holds it" in text_of(desks["bob"].get(BOARD, {"lock": "nightly"}))
    finally:
        lock.release()


@pytest.mark.parametrize("name", ["../x", "<script>alert(1)</script>", "é", "a" * 300, "%00", '"'])
def test_a_name_in_the_link_that_is_none_says_so_and_is_escaped(desks: dict[str, Client], name: str) -> None:
    for parameter in ("breaker", "bulkhead", "lock"):
        page = text_of(desks["bob"].get(BOARD, {parameter: name}))
        assert 'role="alert"' in page
        assert "<script>alert" not in page
    assert 'role="alert"' in text_of(desks["bob"].get(LIMITS, {"rule": name}))


def test_the_filter_narrows_by_name(desks: dict[str, Client]) -> None:
    registry.breaker("billing")
    registry.breaker("search")
    page = text_of(desks["bob"].get(BOARD, {"q": "BILL"}))
    assert "breaker-billing" in page and "breaker-search" not in page
    assert "No breaker has that in its name" in text_of(desks["bob"].get(BOARD, {"q": "zzz"}))


# Limits


def test_a_key_is_inspected_in_words(desks: dict[str, Client]) -> None:
    guess = registry.limiter("guess", limit=5, period_s=60.0, algorithm="sliding_log")
    for _ in range(2):
        guess.acquire("ip:192.0.2.7")
    page = text_of(desks["charlie"].get(LIMITS, {"rule": "guess", "key": "ip:192.0.2.7"}))
    assert "3 left" in page and "full in" in page
    for _ in range(3):
        guess.acquire("ip:192.0.2.7")
    page = text_of(desks["charlie"].get(LIMITS, {"rule": "guess", "key": "ip:192.0.2.7"}))
    assert "refused; admitted again in" in page


def test_an_override_a_reset_and_shadow_by_their_forms(desks: dict[str, Client], committed: Callable[[], Any]) -> None:
    guess = registry.limiter("guess", limit=2, period_s=60.0)
    guess.acquire("k")
    guess.acquire("k")
    assert not guess.acquire("k")
    where = LIMITS + "?rule=guess&key=k"
    with committed():
        sent = {"action": "override", "rule": "guess", "key": "k", "limit": "9", "for_s": "300", "version": "0"}
        assert "has a limit of its own" in said(desks["bob"].post(where, {**sent, "change_reason": "a migration"}))
    assert guess.peek("k").limit == 9
    assert "End the override" in text_of(desks["bob"].get(where))
    with committed():
        said(desks["bob"].post(where, {"action": "reset", "rule": "guess", "key": "k", "change_reason": "fresh"}))
        said(
            desks["bob"].post(
                where, {"action": "end_override", "rule": "guess", "key": "k", "version": "1", "change_reason": "done"}
            )
        )
    assert (guess.peek("k").limit, guess.peek("k").remaining) == (2, 2)
    with committed():
        said(
            desks["bob"].post(
                where, {"action": "shadow", "rule": "guess", "on": "yes", "version": "2", "change_reason": "to see"}
            )
        )
    assert guess.options["shadow"]
    assert "It only watches" in text_of(desks["bob"].get(where))


def test_keys_are_signs_for_who_may_only_look(desks: dict[str, Client]) -> None:
    registry.limiter("guess", limit=1, period_s=60.0)
    registry.control._store.run("hot_refused", "hot:guess", (0, 100, 60_000_000, 1, "ip:192.0.2.7", 4))
    boards.forget()
    for where in (LIMITS, LIMITS + "?rule=guess", LIMITS + "?part=board"):
        assert "192.0.2.7" in text_of(desks["bob"].get(where))
        assert "192.0.2.7" not in text_of(desks["charlie"].get(where))


def test_without_a_rule_three_templates_lead_to_the_form(desks: dict[str, Client], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "names", lambda kind: [])
    boards.forget()
    page = text_of(desks["bob"].get(LIMITS))
    assert "No rule is declared. Begin with one of these" in page
    assert page.count("/admin/controlplane/configrevision/section/limiters/") == 3


def test_a_template_fills_in_the_form_and_what_it_says_is_taken(
    cast: Cast, desks: dict[str, Client], committed: Callable[[], Any]
) -> None:
    from controlplane.pages.limits import TEMPLATES, _form
    from resilience import params

    for _title, _about, name, values in TEMPLATES:
        page = text_of(cast.root.client.get(_form(name), values))
        assert f'value="{values["limit"]}"' in page
        typed = {key: True if value == "true" else value for key, value in values.items()}
        assert params.problems("limiters", {name: typed}) == []


# Caches


def test_a_flush_is_counted_first(desks: dict[str, Client]) -> None:
    page = text_of(desks["charlie"].get(CACHE, {"tag": "subject", "value": "user:a*", "realm": "default"}))
    assert "At most 1 subjects and 0 resources are forgotten" in page
    told = said(
        desks["bob"].post(
            CACHE, {"action": "flush", "tag": "subject", "value": "user:a*", "realm": "default", "change_reason": "wrong data"}
        )
    )
    assert "makes every process forget it" in told


def test_an_id_is_looked_up(desks: dict[str, Client]) -> None:
    page = text_of(desks["charlie"].get(CACHE, {"ref": "user:zed", "kind": "subject", "realm": "default"}))
    assert "no second layer" in page and "memory of this process" in page
    wrong = text_of(desks["charlie"].get(CACHE, {"ref": "zed", "kind": "subject"}))
    assert "must be written type:id" in wrong


def test_a_cold_cache_says_what_to_do(desks: dict[str, Client]) -> None:
    from permissions import metrics

    if metrics.totals()["l1"] + metrics.totals()["db"] + metrics.totals()["live"] == 0:
        assert "Cold:" in text_of(desks["bob"].get(CACHE))


def test_a_warm_up_is_started_by_its_form_and_is_a_job(desks: dict[str, Client]) -> None:
    from controlplane.models import OperationRun
    from permissions.cache import warmup

    told = said(desks["bob"].post(CACHE, {"action": "warm", "realm": "default", "rate": "500", "change_reason": "cold start"}))
    assert "runs in" in told
    progress = warmup.last()
    assert progress is not None and (progress.realm, progress.rate) == ("default", 500)
    assert progress.wait(60)
    assert OperationRun.objects.get(kind="warm_cache").arguments["realm"] == "default"
    assert progress.id in text_of(desks["charlie"].get(CACHE, {"part": "warmup"}))
    assert "No warm-up runs" in said(desks["bob"].post(CACHE, {"action": "warm_cancel", "change_reason": "x"}))
