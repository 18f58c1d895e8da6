"""Posts a notice as JSON, signed, to an address outside; behind a breaker, so that a dead receiver is asked seldom.

Signature: HMAC-SHA256 over `<timestamp>.<body>`, so that neither can be used again with the other. The receiver drops what is
older than it likes, and doubles by `Idempotency-Key`.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import threading
from collections.abc import Mapping
from typing import Any, ClassVar, Final
from urllib.parse import urlsplit

from controlplane.alerts.handlers import outbound
from controlplane.alerts.handlers.base import Handler, Message, NotDelivered, Settings
from permissions.errors import Problem
from resilience.circuit_breaker.breaker import CircuitBreaker
from resilience.clock import SYSTEM, Clock
from resilience.errors import CircuitOpen
from resilience.storage.base import local_store

TIMESTAMP: Final = "X-Permsite-Timestamp"
SIGNATURE: Final = "X-Permsite-Signature"
KEY: Final = "Idempotency-Key"
URL: Final = "url"
# Two notices in a row whose three attempts all failed; chosen.
FAILURES: Final = 6
OPEN_S: Final = 30.0
# Statuses that another attempt may change; the rest of 4xx says that the request is wrong.
_AGAIN: Final = frozenset({408, 425, 429})
_MAX_BREAKERS: Final = 100


def sign(secret: str, timestamp: str, body: bytes) -> str:
    """What a receiver computes too, and compares in constant time."""
    return "v1=" + hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


class WebhookHandler(Handler):
    kind: ClassVar[str] = "webhook"
    tries: ClassVar[int] = 3
    signs: ClassVar[bool] = True
    # Many receivers put a token into their address.
    sealed: ClassVar[tuple[str, ...]] = (URL,)

    def __init__(self, clock: Clock = SYSTEM) -> None:
        self._clock = clock
        self._breakers: dict[str, CircuitBreaker] = {}
        self._lock = threading.Lock()

    def checked(self, options: Mapping[str, Any]) -> tuple[dict[str, Any], list[Problem]]:
        wrong = [Problem(f"options.{str(name)[:60]}", "is not known here; known is url") for name in options if name != URL]
        try:
            outbound.parsed(options.get(URL))
        except outbound.NotAllowed as error:
            return {}, [*wrong, Problem("options.url", str(error))]
        return {URL: options[URL]}, wrong

    def shown(self, name: str, value: Any) -> str:
        """Scheme and host alone."""
        parts = urlsplit(str(value))
        return f"{parts.scheme}://{parts.netloc}/…"

    def deliver(self, message: Message, settings: Settings) -> None:
        if not settings.options.get(URL) or not settings.secret:
            # Its key was drawn anew after SECRET_KEY was lost, and the address with it.
            raise NotDelivered("has no address, or no key, any more: give it anew", is_final=True)
        try:
            self._breaker(settings.name).call(self._post, message, settings)
        except CircuitOpen as error:
            raise NotDelivered(
                "the last calls all failed: its circuit breaker is open", retry_after_s=error.retry_after_s or OPEN_S
            ) from None

    def _post(self, message: Message, settings: Settings) -> None:
        body = json.dumps(message.payload, ensure_ascii=False, separators=(",", ":")).encode()
        timestamp = str(self._clock.now_us() // 1_000_000)
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "User-Agent": "permsite-alerts",
            TIMESTAMP: timestamp,
            SIGNATURE: sign(settings.secret, timestamp, body),
            KEY: message.key,
        }
        try:
            status = outbound.post(str(settings.options[URL]), body, headers, message.timeout_s)
        except outbound.NotAllowed as error:
            raise NotDelivered(str(error), is_final=True) from None
        except TimeoutError:
            raise NotDelivered(f"no answer within {message.timeout_s:g} s") from None
        except (OSError, http.client.HTTPException) as error:
            # The error's own text may repeat the address.
            raise NotDelivered(f"cannot be spoken to: {type(error).__name__}") from None
        if 300 <= status < 400:
            raise NotDelivered(f"answered {status}: redirects are not followed", is_final=True)
        if not 200 <= status < 300:
            raise NotDelivered(f"answered {status}", is_final=400 <= status < 500 and status not in _AGAIN)

    def _breaker(self, name: str) -> CircuitBreaker:
        """Of this process alone: the leader sends all there is, and the shared store may be the very thing that is down."""
        with self._lock:
            if name not in self._breakers:
                if len(self._breakers) >= _MAX_BREAKERS:
                    self._breakers.pop(next(iter(self._breakers)))
                self._breakers[name] = CircuitBreaker(
                    f"alert-webhook-{name}",
                    failure_ratio=1.0,
                    minimum_calls=FAILURES,
                    window_s=300.0,
                    consecutive=FAILURES,
                    open_s=OPEN_S,
                    store=local_store(),
                    quorum=1,
                    clock=self._clock,
                )
            return self._breakers[name]
