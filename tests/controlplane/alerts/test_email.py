"""E-mail against a real server of SMTP, by EMAIL_URL."""

from __future__ import annotations

import email
from collections.abc import Iterator
from typing import Any

import pytest

from controlplane.alerts.handlers.base import Message, NotDelivered, Settings
from controlplane.alerts.handlers.email import EmailHandler
from permsite import env
from tests.controlplane.alerts.receivers import Sink, mail_server

PAYLOAD: dict[str, Any] = {
    "id": "0123",
    "state": "firing",
    "notice": "firing",
    "number": 0,
    "rule": "loop_lag",
    "severity": "critical",
    "labels": {"team": "care"},
    "expression": "f1m.loop_lag_ms > 200",
    "figures": {"f1m.loop_lag_ms": 312.5, "f.p95_ms": None},
    "detail": "",
    "text": {"en": "It is late.", "zh-hans": "延迟了。"},
    "firing_since": "2026-01-01T00:00:00Z",
    "resolved_at": None,
    "site": None,
}


@pytest.fixture
def sink(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sink]:
    with mail_server() as found:
        monkeypatch.setenv("EMAIL_URL", f"smtp://127.0.0.1:{found.port}")
        for name, value in env.mail("EMAIL_URL").items():
            setattr(settings, name, value)
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.DEFAULT_FROM_EMAIL = "permsite@example.org"
        yield found


def told(**more: Any) -> None:
    message = Message({**PAYLOAD, **more}, "0123:firing", 5.0)
    EmailHandler().deliver(message, Settings("ops", {"to": ["ops@example.org", "second@example.org"]}))


def test_a_mail_says_what_how_bad_and_why_in_both_languages(sink: Sink) -> None:
    told()
    sender, to, text = sink.mails[0]
    assert "permsite@example.org" in sender
    assert len(to) == 2
    mail = email.message_from_bytes(text.encode())
    assert mail["Subject"] == "[permsite] FIRING critical loop_lag [team=care]"
    body = mail.get_payload(decode=True).decode()  # type: ignore[union-attr]
    for line in ("It is late.", "延迟了。", "Figures: f1m.loop_lag_ms = 312.5, f.p95_ms = unknown", "Incident: 0123"):
        assert line in body
    assert mail["X-Permsite-Alert"] == "0123:firing"


def test_doubles_have_one_message_id(sink: Sink) -> None:
    told()
    told()
    first, second = (email.message_from_string(text)["Message-ID"] for _, _, text in sink.mails)
    assert first == second


def test_a_label_cannot_add_a_header(sink: Sink) -> None:
    with pytest.raises(Exception, match=r"[Hh]eader|newline"):
        told(labels={"team": "x\r\nBcc: evil@example.org"})
    assert sink.mails == []


@pytest.mark.parametrize(("answer", "is_final"), [("550 no such", True), ("450 later", False)])
def test_a_refused_recipient_is_told_without_addresses(sink: Sink, answer: str, is_final: bool) -> None:
    sink.refuse = answer
    with pytest.raises(NotDelivered) as caught:
        told()
    assert caught.value.is_final is is_final
    assert "example.org" not in str(caught.value)


def test_without_a_mail_server_it_is_said_at_once(settings: Any) -> None:
    settings.EMAIL_URL = ""
    with pytest.raises(NotDelivered, match="EMAIL_URL is not set"):
        told()


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("smtp://mail", {"EMAIL_PORT": 25, "EMAIL_USE_TLS": False, "EMAIL_USE_SSL": False}),
        ("smtp+tls://u:p%40ss@mail", {"EMAIL_PORT": 587, "EMAIL_USE_TLS": True, "EMAIL_HOST_PASSWORD": "p@ss"}),
        ("smtps://mail:4650", {"EMAIL_PORT": 4650, "EMAIL_USE_SSL": True}),
    ],
)
def test_the_setting_is_one_url(monkeypatch: pytest.MonkeyPatch, url: str, wanted: dict[str, object]) -> None:
    monkeypatch.setenv("EMAIL_URL", url)
    found = env.mail("EMAIL_URL")
    assert {name: found[name] for name in wanted} == wanted
    assert "p@ss" not in str(found["EMAIL_URL"])


@pytest.mark.parametrize("url", ["http://mail", "smtp://", "smtp://mail:x", "smtp://mail/path", "smtp://mail?x=1", "mail"])
def test_a_wrong_url_stops_the_start_without_repeating_it(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("EMAIL_URL", url)
    with pytest.raises(env.SettingError, match="EMAIL_URL") as caught:
        env.mail("EMAIL_URL")
    assert url not in str(caught.value)
