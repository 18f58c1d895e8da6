"""Deliveries: a slow or failing handler delays nobody, and is itself told of."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from controlplane.alerts import courier as couriers
from controlplane.alerts import outbox
from controlplane.models import AlertDelivery, AlertHandler, AlertIncident
from controlplane.services.alert_secrets import Unreadable, new_secret, seal, unseal
from tests.controlplane.alerts.receivers import hook_server
from tests.controlplane.alerts.world import BookHandler, World


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(couriers, "BACKOFF_S", (0.0, 0.0))


def webhook(name: str, url: str) -> str:
    key = new_secret()
    AlertHandler.objects.create(name=name, kind="webhook", secret=outbox.closed(key, {"url": url}))
    return key


def test_a_slow_webhook_delays_neither_rounds_nor_other_handlers(world: World, settings: Any) -> None:
    settings.ALERT_WEBHOOK_ALLOW = ["127.0.0.1"]
    world.rule()
    with hook_server() as hook:
        hook.hold = threading.Event()
        webhook("slow", hook.url)
        world.clock.advance(5)
        world.evaluator.tick({"loop_lag_ms": 300}, world.lead)
        assert hook.wait(1), "it has the notice, and does not answer"
        with world.evaluator.courier._changed:
            assert world.evaluator.courier._changed.wait_for(lambda: len(BookHandler.book) == 1, 20), "the other was told"
        world.clock.advance(5)
        world.evaluator.tick({"loop_lag_ms": 1}, world.lead)
        assert AlertIncident.objects.get().state == "resolved", "the next round did not wait"
        hook.hold.set()
        assert world.evaluator.courier.idle(20)
        assert [got.headers["Idempotency-Key"].split(":")[1] for got in hook.got] == ["firing", "resolved"]


def test_three_attempts_then_an_incident_about_the_handler_told_by_the_others(world: World, settings: Any, quick: None) -> None:
    settings.ALERT_WEBHOOK_ALLOW = ["127.0.0.1"]
    AlertHandler.objects.create(name="log", kind="log")
    world.rule()
    with hook_server() as hook:
        hook.answers = [500, 500, 500]
        webhook("pager", hook.url)
        world.round(loop_lag_ms=300)
        assert len(hook.got) == 3
        assert len({got.headers["Idempotency-Key"] for got in hook.got}) == 1
        row = AlertDelivery.objects.get(handler="pager")
        assert (row.outcome, row.attempts, row.error) == ("failed", 3, "answered 500")
        world.round(loop_lag_ms=300)
        failed = AlertIncident.objects.get(rule="handler_failed")
        assert (failed.labels, failed.state, failed.detail) == ({"handler": "pager"}, "firing", "answered 500")
        assert list(AlertDelivery.objects.filter(rule="handler_failed").values_list("handler", flat=True)) == ["log"]
        assert world.round(loop_lag_ms=1) == [("book", "resolved", "lag")]
        assert len(hook.got) == 4, "the end was delivered"
        world.round(loop_lag_ms=1)
        assert AlertIncident.objects.get(rule="handler_failed").state == "resolved"


def test_a_receiver_that_answers_the_second_time_is_told_once(world: World, settings: Any, quick: None) -> None:
    settings.ALERT_WEBHOOK_ALLOW = ["127.0.0.1"]
    world.rule()
    with hook_server() as hook:
        hook.answers = [503]
        webhook("pager", hook.url)
        world.round(loop_lag_ms=300)
        row = AlertDelivery.objects.get(handler="pager")
        assert (row.outcome, row.attempts) == ("sent", 2)


def test_no_secret_and_no_address_is_logged_or_kept_in_clear(
    world: World, settings: Any, quick: None, caplog: pytest.LogCaptureFixture
) -> None:
    settings.ALERT_WEBHOOK_ALLOW = ["127.0.0.1"]
    world.rule()
    with hook_server() as hook:
        hook.answers = [500, 302, 204]
        key = webhook("pager", f"{hook.url}/verysecret")
        world.round(loop_lag_ms=300)
        world.round(loop_lag_ms=1)
    kept = str([list(model.objects.values()) for model in (AlertDelivery, AlertHandler, AlertIncident)])
    for text in (caplog.text, kept):
        assert key not in text
        assert "verysecret" not in text


def test_a_handler_whose_breaker_is_open_is_told_later(world: World, settings: Any, quick: None) -> None:
    settings.ALERT_WEBHOOK_ALLOW = ["127.0.0.1"]
    for n in range(3):
        world.rule(f"rule{n}")
    with hook_server() as hook:
        hook.answers = [500] * 6
        webhook("pager", hook.url)
        world.round(loop_lag_ms=300)
        outcomes = sorted(AlertDelivery.objects.filter(handler="pager").values_list("outcome", flat=True))
        assert outcomes == ["due", "failed", "failed"], "the third waits for the breaker"
        row = AlertDelivery.objects.get(handler="pager", outcome="due")
        assert row.not_before is not None
        assert "circuit breaker is open" in row.error


def test_a_handler_that_raises_what_nobody_foresaw_is_an_outcome(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("with a secret in its text")

    monkeypatch.setattr(BookHandler, "deliver", broken)
    world.rule()
    world.round(loop_lag_ms=300)
    assert [(row.outcome, row.error) for row in AlertDelivery.objects.all()] == [("failed", "RuntimeError")]


def test_a_secret_opens_with_an_older_key_and_not_with_another(settings: Any) -> None:
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "first-key", []
    sealed = seal("hello")
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "second-key", ["first-key"]
    assert unseal(sealed) == "hello"
    settings.SECRET_KEY_FALLBACKS = []
    with pytest.raises(Unreadable, match="SECRET_KEY"):
        unseal(sealed)
    with pytest.raises(Unreadable):
        unseal("nonsense ☃")


def test_a_secret_that_cannot_be_opened_fails_the_delivery_with_words(world: World, settings: Any) -> None:
    webhook("pager", "https://hooks.example.org/")
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "a-new-one", []
    world.rule()
    world.round(loop_lag_ms=300)
    row = AlertDelivery.objects.get(handler="pager")
    assert row.outcome == "failed"
    assert "SECRET_KEY" in row.error
