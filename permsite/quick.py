"""A connection that answers plain questions itself: what a request costs on its way to the application is more than the answer.

A request that came whole with one read, and is one of those that the site answers without a step off the event loop, gets its
answer here: no task, no scope, no coroutine. Every other one is handed on as if nothing had been looked at, in the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any, Final

from permsite import requests
from permsite.protocol import Protocol

Header = tuple[bytes, bytes]
# (path, headers, body) to further headers and the body of a 200; None: ask the application.
Plainly = Callable[[str, Sequence[Header], bytes], tuple[Sequence[Header], bytes] | None]

_FIRST: Final = b"HTTP/1.1 200 OK\r\n"


def connection(config: Any, server_state: Any, app_state: Any, _loop: Any = None) -> Protocol:
    """For uvicorn: a connection of the application that is loaded."""
    kind = Quick if hasattr(config.loaded_app, "plainly") else Protocol
    return kind(config=config, server_state=server_state, app_state=app_state, _loop=_loop)


class Quick(Protocol):
    """`_is_held`: a head was read that nobody has been told of yet, and `_held` of its body."""

    def __init__(self, config: Any, server_state: Any, app_state: Any, _loop: Any = None) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._plainly: Plainly = config.loaded_app.plainly
        self._paths: frozenset[bytes] = config.loaded_app.plain_paths
        self._took = requests.cell("wire")
        self._is_held = False
        self._held = b""

    def shutdown(self) -> None:
        # No path is plain any more: the application's answers are the same, and tell that they are the last.
        self._paths = frozenset()
        super().shutdown()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._is_held:
            # Not whole yet: from here on it is a request in hand, which the end of the server waits for.
            if self.transport.is_closing():
                self._is_held = False
            else:
                self._hand_on()

    def on_message_begin(self) -> None:
        self.url = b""
        self.expect_100_continue = False
        self.headers = []

    def on_headers_complete(self) -> None:
        parser = self.parser
        if (
            self.url in self._paths
            and not self.expect_100_continue
            and not self.flow.write_paused
            and (self.cycle is None or self.cycle.response_complete)  # type: ignore[redundant-expr]  # None at first
            and parser.get_method() == b"POST"
            and parser.get_http_version() == "1.1"
            and parser.should_keep_alive()
            and not parser.should_upgrade()
        ):
            self._is_held, self._held = True, b""
        else:
            self._tell()

    def on_body(self, body: bytes) -> None:
        if self._is_held:
            self._held = self._held + body if self._held else body
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self._is_held:
            took = self._took
            wait = took.wait
            began_s = 0.0 if wait else perf_counter()
            try:
                answer = self._plainly(self.url.decode("ascii"), self.headers, self._held)
            except Exception:  # noqa: BLE001 - the application meets the same fault, and tells of it
                answer = None
            if answer is not None:
                self._is_held = False
                self._answer(*answer)
                # Each connection is the event loop's, whose alone this cell is. Reading the clock twice for every answer would
                # cost a busy worker 4 % of them, one in eight 1.4 % (measured).
                if wait:
                    took.wait = wait - 1
                else:
                    took.sample(perf_counter() - began_s)
                return
            self._hand_on()
        super().on_message_complete()

    def _hand_on(self) -> None:
        body = self._held
        self._tell()
        if body:
            super().on_body(body)

    def _tell(self) -> None:
        # An answer of ours to the request before it, in the same read, has set the clock of an idle connection.
        self._unset_keepalive_if_required()
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers.extend(headers)  # the list that the scope holds
        self._is_held, self._held = False, b""
        super().on_headers_complete()

    def _answer(self, more: Sequence[Header], body: bytes) -> None:
        lines = [b"%s: %s\r\n" % header for header in self.server_state.default_headers]
        lines.append(b"content-type: application/json\r\ncontent-length: %d\r\n" % len(body))
        lines += [b"%s: %s\r\n" % header for header in more]
        self.transport.write(b"".join((_FIRST, *lines, b"\r\n", body)))
        self.server_state.total_requests += 1
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)
