"""Checks asked one after the other in a thread, so that a page has something to show; and words with the management API."""

from __future__ import annotations

import http.client
import json
import threading
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

QUESTIONS = (("zed", "read", "8"), ("zed", "edit", "8"), ("alice", "read", "7"), ("charlie", "read", "7"))


def call(address: str, key: str, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=10)
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    try:
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        text = answer.read()
        assert answer.status < 300, (method, path, answer.status, text[:300])
        return json.loads(text) if text else None
    finally:
        connection.close()


def ask(address: str, key: str, who: str, action: str, number: str) -> bool:
    body = {
        "subject": {"type": "user", "id": who},
        "action": {"name": action},
        "resource": {"type": "post", "id": number},
    }
    return bool(call(address, key, "POST", "/access/v1/evaluation", body)["decision"])


class Load:
    """`with Load(address, key):` asks some fifty questions a second."""

    def __init__(self, address: str, key: str) -> None:
        self._address, self._key = address, key
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        asked = 0
        while not self._ended.wait(0.02):
            asked += 1
            ask(self._address, self._key, *QUESTIONS[asked % len(QUESTIONS)])
