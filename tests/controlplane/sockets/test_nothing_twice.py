"""A return joins first and replays then: what is in both is sent once."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any, cast

from controlplane.live.tail import Replay
from controlplane.sockets.messages import Message, Subscribe, events_text
from controlplane.sockets.outbox import Outbox
from controlplane.sockets.stream import Stream
from tests.controlplane.sockets.conftest import event


def told(*numbers: int) -> list[dict[str, Any]]:
    return [{**event("storage.down"), "id": f"{number:013d}-000000"} for number in numbers]


def test_an_event_that_is_replayed_and_waits_is_sent_once():
    hub = SimpleNamespace(
        frame=lambda: None, frame_age_s=lambda: None, nodes=list, replay=lambda after: Replay(told(2, 3), is_gap=False)
    )

    async def yes(realm: str) -> bool:
        return True

    async def talk() -> list[int]:
        stream = Stream(cast(Any, hub), yes)
        allowed = frozenset({"events"})
        stream.subscribe(Subscribe(allowed, (), f"{1:013d}-000000"), allowed)
        for batch in (told(2), told(3, 4), told(5)):
            stream.hear(Message("events", events_text(batch)))
        found: list[int] = []
        async for text in stream.texts():
            found += [int(one["id"][:13]) for one in json.loads(text).get("events", [])]
            if 5 in found:
                return found
        return found

    assert asyncio.run(talk()) == [2, 3, 4, 5]


def test_notices_that_wait_can_be_taken_for_the_last_words():
    async def talk() -> list[str]:
        outbox = Outbox()
        for kind, text in (("frame", "a"), ("notice", "b"), ("frame", "c")):
            outbox.put(Message(kind, text))
        return [message.text for message in outbox.take("notice")]

    assert asyncio.run(talk()) == ["b"]
