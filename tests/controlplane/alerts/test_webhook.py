"""The webhook against a real receiver: signature, attempts, breaker, and where it may not go."""

from __future__ import annotations

import hashlib
import hmac
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from controlplane.alerts.handlers import outbound
from controlplane.alerts.handlers.base import Message, NotDelivered, Settings
from controlplane.alerts.handlers.webhook import FAILURES, WebhookHandler
from resilience.clock import FakeClock
from tests.controlplane.alerts.receivers import Hook, hook_server

SECRET = "pswh_a-secret-of-the-test"
PAYLOAD = {"id": "0123", "state": "firing", "rule": "lag", "text": {"zh-hans": "告警"}}


@pytest.fixture
def hook(settings: Any) -> Iterator[Hook]:
    settings.ALERT_WEBHOOK_ALLOW = ["127.0.0.1"]
    with hook_server() as found:
        yield found


@pytest.fixture
def handler() -> WebhookHandler:
    return WebhookHandler(FakeClock())


def told(url: str, handler: WebhookHandler, timeout_s: float = 5.0) -> None:
    handler.deliver(Message(PAYLOAD, "0123:firing", timeout_s), Settings("pager", {"url": url}, SECRET))


def test_the_receiver_can_verify_the_body_with_its_time(hook: Hook, handler: WebhookHandler) -> None:
    told(hook.url + "/hook?token=x", handler)
    got = hook.got[0]
    assert got.path == "/hook?token=x"
    assert json.loads(got.body) == PAYLOAD
    signed = got.headers["X-Permsite-Timestamp"].encode() + b"." + got.body
    wanted = hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()
    assert got.headers["X-Permsite-Signature"] == f"v1={wanted}"
    assert got.headers["Idempotency-Key"] == "0123:firing"
    assert SECRET not in str(got.headers) + got.body.decode()


@pytest.mark.parametrize(
    ("status", "is_final"), [(500, False), (503, False), (429, False), (400, True), (404, True), (410, True)]
)
def test_a_refusal_says_whether_another_attempt_may_help(
    hook: Hook, handler: WebhookHandler, status: int, is_final: bool
) -> None:
    hook.answers = [status]
    with pytest.raises(NotDelivered, match=str(status)) as caught:
        told(hook.url, handler)
    assert caught.value.is_final is is_final


def test_a_redirect_is_not_followed(hook: Hook, handler: WebhookHandler) -> None:
    hook.answers, hook.location = [307], f"{hook.url}/elsewhere"
    with pytest.raises(NotDelivered, match="redirects are not followed"):
        told(hook.url, handler)
    assert [got.path for got in hook.got] == ["/"]


def test_a_receiver_that_never_answers_costs_one_time_out(hook: Hook, handler: WebhookHandler) -> None:
    hook.hold = threading.Event()
    with pytest.raises(NotDelivered, match="no answer within"):
        told(hook.url, handler, 0.3)


def test_a_receiver_that_drips_bytes_costs_no_more(hook: Hook, handler: WebhookHandler) -> None:
    hook.drip = True
    with pytest.raises(NotDelivered, match="no answer within"):
        told(hook.url, handler, 0.5)


def test_nobody_there_is_told_without_the_address(handler: WebhookHandler, settings: Any) -> None:
    settings.ALERT_WEBHOOK_ALLOW = ["127.0.0.1"]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(NotDelivered) as caught:
            told(f"http://127.0.0.1:{taken.getsockname()[1]}/secret-token", handler)
    assert "secret-token" not in str(caught.value)


def test_after_failures_in_a_row_the_breaker_holds_it_back_and_probes_later(hook: Hook) -> None:
    clock = FakeClock()
    handler = WebhookHandler(clock)
    hook.answers = [500] * FAILURES
    for _ in range(FAILURES):
        with pytest.raises(NotDelivered, match="answered 500"):
            told(hook.url, handler)
    with pytest.raises(NotDelivered, match="circuit breaker is open") as caught:
        told(hook.url, handler)
    assert caught.value.retry_after_s
    assert len(hook.got) == FAILURES, "nothing was sent"
    clock.advance(31)
    told(hook.url, handler)
    told(hook.url, handler)
    assert len(hook.got) == FAILURES + 2


PRIVATE = [
    "127.0.0.1",
    "127.8.9.1",
    "0.0.0.0",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "224.0.0.1",
    "255.255.255.255",
    "[::1]",
    "[::]",
    "[fe80::1]",
    "[fd00::1]",
    "[ff02::1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:10.0.0.1]",
    "[2002:7f00:1::]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b:1::7f00:1]",
    "[fec0::1]",
    "[::127.0.0.1]",
    "[::10.0.0.1]",
]


@pytest.mark.parametrize("host", PRIVATE)
def test_no_private_address_is_called(host: str) -> None:
    with pytest.raises(outbound.NotAllowed, match="no public address"):
        outbound.parsed(f"https://{host}/")


@pytest.mark.parametrize("host", ["2130706433", "0x7f.1", "017700000001", "127.1", "localhost"])
def test_other_spellings_of_a_private_address_are_refused_where_they_resolve(host: str) -> None:
    try:
        with pytest.raises(outbound.NotAllowed, match="no public address"):
            outbound.resolved(host, 443)
    except OSError:
        pass  # this resolver does not know the spelling: it leads nowhere


NO_ADDRESS: list[object] = [
    "",
    "hooks.example.org",
    "https://",
    "https:///x",
    "http://hooks.example.org/",
    "file:///etc/passwd",
    "https://a b/",
    "https://a\\@b/",
    "https://h:0/",
    "https://h:70000/",
    "https://u@h/",
    "https://h/#x",
    "https://höoks.example/",
    "https://h/\r\nX: y",
    7,
    None,
]


@pytest.mark.parametrize("url", NO_ADDRESS)
def test_what_is_no_address_of_a_web_server_is_refused(url: object) -> None:
    with pytest.raises(outbound.NotAllowed):
        outbound.parsed(url)


def test_a_name_with_one_private_address_among_public_ones_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [(2, 1, 6, "", ("93.184.216.34", 443)), (2, 1, 6, "", ("10.0.0.7", 443))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answers)
    with pytest.raises(outbound.NotAllowed, match=r"10\.0\.0\.7"):
        outbound.resolved("hooks.example.org", 443)


def test_the_name_is_resolved_once_so_that_a_second_answer_changes_nothing(
    hook: Hook, handler: WebhookHandler, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The resolver answers with the listed address first and with the machine's own afterwards, as a rebinding attacker does."""
    settings.ALERT_WEBHOOK_ALLOW = ["rebinds.example.org"]
    port = int(hook.url.rpartition(":")[2])
    asked: list[str] = []
    real = socket.getaddrinfo

    def answers(host: str, *args: Any, **kwargs: Any) -> Any:
        if host != "rebinds.example.org":
            return real(host, *args, **kwargs)
        asked.append(host)
        return real("127.0.0.1" if len(asked) == 1 else "127.0.0.9", *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", answers)
    told(f"http://rebinds.example.org:{port}/", handler)
    assert asked == ["rebinds.example.org"]
    assert hook.got[0].headers["Host"] == f"rebinds.example.org:{port}"


def test_the_certificate_is_asked_for_by_name(
    monkeypatch: pytest.MonkeyPatch, hook: Hook, handler: WebhookHandler, settings: Any
) -> None:
    settings.ALERT_WEBHOOK_ALLOW = ["localhost"]
    names = []
    real = ssl.SSLContext.wrap_socket

    def wrap(self: ssl.SSLContext, sock: Any, **options: Any) -> Any:
        names.append(options["server_hostname"])
        assert self.verify_mode == ssl.CERT_REQUIRED
        assert self.check_hostname
        return real(self, sock, **options)

    monkeypatch.setattr(ssl.SSLContext, "wrap_socket", wrap)
    with pytest.raises(NotDelivered, match="cannot be spoken to"):
        told(hook.url.replace("http://127.0.0.1", "https://localhost"), handler)
    assert names == ["localhost"]


def test_only_what_is_listed_may_be_private(settings: Any) -> None:
    settings.ALERT_WEBHOOK_ALLOW = ["10.0.0.0/8", "hooks.internal"]
    outbound.parsed("https://10.9.9.9/")
    outbound.parsed("http://10.9.9.9:8080/")
    outbound.parsed("http://hooks.internal/")
    for url in ("https://192.168.0.1/", "http://hooks.example.org/"):
        with pytest.raises(outbound.NotAllowed):
            outbound.parsed(url)
