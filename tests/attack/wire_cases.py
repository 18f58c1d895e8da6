"""Malformed requests for the AuthZEN wire, drawn from a seed: broken JSON, wrong types, odd headers, broken HTTP."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from tests.attack.wire_material import (
    BROKEN,
    EVALUATION,
    EVALUATIONS,
    MAX_BODY,
    ODD_KEYS,
    ODD_TOKENS,
    ODD_TYPES,
    ODD_VALUES,
    REQUIRED,
    SEARCHES,
    TYPED,
    VALID,
)
from tests.conformance import authzen_player as player

NO_HEADERS: Final[Mapping[str, str | None]] = {}


@dataclass(frozen=True, slots=True)
class Probe:
    """`data`: what is sent. `ids`: the X-Request-ID of each answer that must come, in order; None: it is broken HTTP, and what
    comes before the connection ends must merely be no fault. `statuses`: what each answer may be. `is_decision`: a yes."""

    kind: str
    data: bytes
    ids: tuple[str, ...] | None
    statuses: frozenset[int]
    is_decision: bool = False


class Cases:
    """An endless, repeatable row of probes."""

    def __init__(self, seed: int, key: str) -> None:
        self._random = random.Random(seed)
        self._key = key
        self._n = 0
        self._bodies = [
            (case["path"], json.dumps(case["body"]).encode()) for case in player.cases() if "body" in case and case["path"] != ""
        ]
        self._kinds: list[tuple[int, Callable[[], Probe]]] = [
            (6, self.broken_json),
            (8, self.wrong_type),
            (4, self.missing),
            (4, self.odd_value),
            (10, self.damaged_bytes),
            (4, self.wrong_item),
            (3, self.wrong_search),
            (3, self.wrong_page),
            (5, self.odd_header),
            (3, self.other_method_or_path),
            (3, self.pipelined),
            (3, self.chunked),
            (4, self.broken_http),
            (2, self.left_in_the_middle),
        ]
        self._rare: list[Callable[[], Probe]] = [self.too_large, self.too_many_items, self.too_many_entries, self.long_header]

    def draw(self) -> Probe:
        self._n += 1
        if self._n % 50 == 0:
            return self.valid()
        if self._n % 199 == 0:
            return self._rare[self._n // 199 % len(self._rare)]()
        [kind] = self._random.choices([kind for _, kind in self._kinds], [weight for weight, _ in self._kinds])
        return kind()

    # HTTP

    def _id(self) -> str:
        return f"{self._n}-{self._random.getrandbits(32):x}"

    def _request(
        self, path: str, body: bytes, *, ident: str, method: str = "POST", headers: Mapping[str, str | None] = NO_HEADERS
    ) -> bytes:
        told: dict[str, str | None] = {
            "Host": "127.0.0.1",
            "Authorization": f"Bearer {self._key}",
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            "X-Request-ID": ident,
        }
        told |= headers
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in told.items() if value is not None)]
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body

    def _post(
        self,
        kind: str,
        path: str,
        body: bytes,
        statuses: set[int],
        *,
        method: str = "POST",
        headers: Mapping[str, str | None] = NO_HEADERS,
    ) -> Probe:
        ident = self._id()
        data = self._request(path, body, ident=ident, method=method, headers=headers)
        return Probe(kind, data, (ident,), frozenset(statuses))

    # Bodies

    def valid(self) -> Probe:
        ident = self._id()
        data = self._request(EVALUATION, json.dumps(VALID).encode(), ident=ident)
        return Probe("valid", data, (ident,), frozenset({200}), is_decision=True)

    def broken_json(self) -> Probe:
        path = self._random.choice((EVALUATION, EVALUATIONS, *SEARCHES))
        return self._post("broken json", path, self._random.choice(BROKEN), {400})

    def _message(self) -> Any:
        message: dict[str, Any] = copy.deepcopy(VALID)
        for member in ("subject", "action", "resource"):
            message[member] = {**message[member], "properties": {"a": 1}}
        return {**message, "context": {"b": 2}}

    def wrong_type(self) -> Probe:
        place, right = self._random.choice(TYPED)
        message = self._message()
        wrong = [value for value in ODD_VALUES if type(value) is not right]
        _put(message, place, self._random.choice(wrong))
        return self._post("wrong type", EVALUATION, json.dumps(message).encode(), {400})

    def missing(self) -> Probe:
        message = self._message()
        _drop(message, self._random.choice((*REQUIRED, ("resource", "type"), ("resource", "id"))))
        return self._post("missing member", EVALUATION, json.dumps(message).encode(), {400})

    def odd_value(self) -> Probe:
        """Somewhere inside what is free: never a fault, whatever it says."""
        message = self._message()
        place = self._random.choice(
            (("context",), ("subject", "properties"), ("resource", "properties"), ("action", "properties"))
        )
        name = self._random.choice(("explain", "teams", "parent", "supported_obligations", "a", "", "role", "status", "soft"))
        value: Any = self._random.choice(
            (*ODD_VALUES, 2**63, -(2**70), 1e308, [VALID], {"a": {"b": [None]}}, ["team:x"], "record:record-1")
        )
        _put(message, (*place, name), value)
        path = self._random.choice((EVALUATION, *SEARCHES))
        return self._post("odd value", path, json.dumps(message).encode(), {200, 400})

    def damaged_bytes(self) -> Probe:
        """A body of the certification with some bytes changed, cut, doubled or swapped."""
        path, body = self._random.choice(self._bodies)
        damaged = bytearray(body)
        for _ in range(self._random.randint(1, 4)):
            at = self._random.randrange(len(damaged)) if damaged else 0
            way = self._random.randrange(5)
            if way == 0 and damaged:
                damaged[at] = self._random.randrange(256)
            elif way == 1:
                del damaged[at : at + self._random.randint(1, 8)]
            elif way == 2:
                damaged[at:at] = damaged[at : at + self._random.randint(1, 20)]
            elif way == 3:
                damaged[at:at] = self._random.choice(
                    (b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"\x00", b"\\ud800", b"1e999")
                )
            else:
                del damaged[at:]
        return self._post("damaged bytes", path, bytes(damaged), {200, 400})

    def wrong_item(self) -> Probe:
        items: list[Any] = [{}, VALID, self._message()]
        items.insert(
            self._random.randrange(4), self._random.choice((None, 7, "x", [], {"subject": None}, {"action": {}}, {"context": 1}))
        )
        message: dict[str, Any] = {**VALID, "evaluations": items}
        statuses = {200}
        way = self._random.randrange(4)
        if way == 0:
            message["evaluations"] = self._random.choice((None, 7, "x", {}, True))
            statuses = {400}
        elif way == 1:
            message["options"] = self._random.choice((None, [], {"evaluations_semantic": 7}, {"evaluations_semantic": "first"}))
            statuses = {400}
        elif way == 2:
            message["options"] = {"evaluations_semantic": self._random.choice(("deny_on_first_deny", "permit_on_first_permit"))}
        return self._post("wrong item", EVALUATIONS, json.dumps(message).encode(), statuses)

    def wrong_search(self) -> Probe:
        path = self._random.choice(SEARCHES)
        message = self._message()
        name = self._random.choice(
            [name for name in ("subject", "action", "resource") if not path.endswith("action") or name != "action"]
        )
        message[name] = self._random.choice((None, 7, "x", [], True))
        return self._post("wrong search", path, json.dumps(message).encode(), {400})

    def wrong_page(self) -> Probe:
        page: Any = self._random.choice(
            (
                7,
                "x",
                [],
                {"limit": -1},
                {"limit": "1"},
                {"limit": True},
                {"limit": 1.5},
                {"token": 7},
                {"token": "x"},
                {"token": "é" * 99},
            )
        )
        path = self._random.choice(SEARCHES)
        return self._post("wrong page", path, json.dumps({**VALID, "page": page}).encode(), {400})

    def too_large(self) -> Probe:
        body = b'{"a":"' + b"x" * (MAX_BODY + self._random.randint(0, 99)) + b'"}'
        return self._post("too large", EVALUATION, body, {413}, headers={"Connection": "close"})

    def too_many_items(self) -> Probe:
        return self._post("too many items", EVALUATIONS, json.dumps({**VALID, "evaluations": [{}] * 1001}).encode(), {400})

    def too_many_entries(self) -> Probe:
        return self._post("too many entries", EVALUATION, json.dumps({**VALID, "context": {"a": [0] * 1001}}).encode(), {400})

    def long_header(self) -> Probe:
        """Beyond what the server reads of a header: it may answer or hang up."""
        data = self._request(EVALUATION, json.dumps(VALID).encode(), ident=self._id(), headers={"X-Long": "x" * 70_000})
        return Probe("long header", data, None, frozenset({200, 400, 431}))

    # Headers, methods, paths

    def odd_header(self) -> Probe:
        body = json.dumps(VALID).encode()
        ways: tuple[tuple[dict[str, str | None], set[int]], ...] = (
            ({"Content-Type": self._random.choice(ODD_TYPES)}, {400}),
            ({"Content-Type": None}, {400}),
            ({"Authorization": self._random.choice(ODD_KEYS)}, {401}),
            ({"Authorization": None}, {401}),
            ({"X-Permission-Token": self._random.choice(ODD_TOKENS)}, {400, 409}),
            ({"X-Permission-Token": "full"}, {200}),
            ({"Host": "evil.example\r\nX-Forwarded-Host: evil.example"}, {200}),
            ({"Content-Type": "application/json\r\nContent-Type: text/plain"}, {400}),
            ({"X-Permission-Token": "full\r\nX-Permission-Token: x"}, {400}),
            ({"Upgrade": "h2c", "Connection": "Upgrade, HTTP2-Settings", "HTTP2-Settings": "AAMAAABk"}, {200}),
            ({"Expect": "100-continue"}, {200}),
            ({"Content-Encoding": "gzip"}, {200}),
            ({"Cookie": "sessionid=" + "x" * 2000}, {200}),
        )
        headers, statuses = self._random.choice(ways)
        return self._post("odd header", EVALUATION, body, statuses, headers=headers)

    def other_method_or_path(self) -> Probe:
        path = self._random.choice((EVALUATION, EVALUATIONS, *SEARCHES))
        if self._random.random() < 0.5:
            method = self._random.choice(("PUT", "GET", "DELETE", "PATCH", "OPTIONS"))
            return self._post("other method", path, b"{}", {405}, method=method)
        path += self._random.choice(("?a=1", "?" + "x" * 3000, "?%00"))
        return self._post("query string", path, b"{}", {400})

    # Whole connections

    def pipelined(self) -> Probe:
        """Several at once: each is answered, in their order, whatever the one before it was."""
        probes = [
            self._random.choice((self.valid, self.broken_json, self.wrong_type, self.missing))()
            for _ in range(self._random.randint(2, 6))
        ]
        # Drawn at one count, they would share their ids' first half; the second tells them apart.
        ids = tuple(ident for probe in probes for ident in probe.ids or ())
        return Probe("pipelined", b"".join(probe.data for probe in probes), ids, frozenset({200, 400}))

    def chunked(self) -> Probe:
        body, ident = json.dumps(VALID).encode(), self._id()
        head = self._request(EVALUATION, b"", ident=ident, headers={"Content-Length": None, "Transfer-Encoding": "chunked"})
        pieces = [body[at : at + 7] for at in range(0, len(body), 7)]
        true = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
        lies = (
            (true + b"0\r\n\r\n", (ident,)),
            (true + b"0;a=b\r\nX-Trailer: 1\r\n\r\n", None),
            (b"zz\r\n" + body + b"\r\n0\r\n\r\n", None),
            (b"-5\r\n" + body + b"\r\n0\r\n\r\n", None),
            (b"ffffffffffffffffffff\r\n" + body, None),
            (b"5\r\n" + body + b"\r\n0\r\n\r\n", None),
            (true, None),
            (b"%x\r\n%s" % (len(body) + 10, body), None),
        )
        rest, ids = self._random.choice(lies)
        return Probe("chunked", head + rest, ids, frozenset({200} if ids else {200, 400}))

    def broken_http(self) -> Probe:
        body = json.dumps(VALID).encode()
        whole = self._request(EVALUATION, body, ident=self._id())
        noise = bytearray(whole)
        for _ in range(self._random.randint(1, 6)):
            noise[self._random.randrange(len(noise) - len(body))] = self._random.randrange(256)
        data = self._random.choice(
            (
                bytes(noise),
                bytes(noise),
                bytes(noise),
                self._random.randbytes(self._random.randint(1, 400)),
                b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + self._random.randbytes(60),
                b"\r\n" * 50 + whole,
                whole.replace(b"HTTP/1.1", b"HTTP/1.0"),
                whole.replace(b"HTTP/1.1", b"HTTP/3.7"),
                whole.replace(b"HTTP/1.1", b""),
                whole.replace(b"Content-Length: ", b"Content-Length: -"),
                whole.replace(b"Content-Length: ", b"Content-Length: 1\r\nContent-Length: "),
                whole.replace(b"Content-Length: ", b"Transfer-Encoding: chunked\r\nContent-Length: "),
                whole.replace(b"Content-Length: ", b"Content-Length: 9999999999999999999999"),
                whole.replace(b"\r\n", b"\n"),
                whole.replace(b"POST ", b"POST\t"),
                whole.replace(b"/access", b"http://evil.example/access"),
                whole.replace(b"/access", b"/%00/access"),
                whole.replace(b"Host: ", b"Host : "),
                whole.replace(b"Host: ", b" folded\r\nHost: "),
                b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            )
        )
        return Probe("broken http", data, None, frozenset({200, 400, 401, 404, 405, 413, 426}))

    def left_in_the_middle(self) -> Probe:
        whole = self._request(EVALUATION, json.dumps(VALID).encode(), ident=self._id())
        return Probe("left in the middle", whole[: self._random.randrange(1, len(whole))], None, frozenset({400}))


def _put(message: Any, place: tuple[str, ...], value: Any) -> None:
    for name in place[:-1]:
        message = message[name]
    message[place[-1]] = value


def _drop(message: Any, place: tuple[str, ...]) -> None:
    for name in place[:-1]:
        message = message[name]
    del message[place[-1]]
