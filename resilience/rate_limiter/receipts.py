"""Giving back what verdicts took: each once, in one pipeline a store."""

from __future__ import annotations

from collections.abc import Iterable

from resilience import telemetry
from resilience.errors import StorageError, StorageProtocolError
from resilience.laws.keyspace import Reply
from resilience.rate_limiter.verdict import Receipt, Verdict
from resilience.storage.base import Call, Storage


def take_receipt(verdict: Verdict) -> Receipt | None:
    """The receipt, for whoever comes first: one step of C, so of two threads that refund one verdict one finds it."""
    receipt: Receipt | None = vars(verdict).pop("receipt", None)
    return receipt


def give_back(receipts: Iterable[Receipt], now: int) -> list[Reply | None]:
    """The reply to each, None where the store did not answer: it may have been done, and a second time would be too much."""
    held = list(receipts)
    replies: dict[int, Reply | None] = {}
    for store, places in _by_store(held):
        answered = store.attempt_many([_call(held[place]) for place in places], now)
        replies.update(zip(places, map(_seen, answered), strict=True))
    return [replies[place] for place in range(len(held))]


async def agive_back(receipts: Iterable[Receipt], now: int) -> list[Reply | None]:
    held = list(receipts)
    replies: dict[int, Reply | None] = {}
    for store, places in _by_store(held):
        answered = await store.aattempt_many([_call(held[place]) for place in places], now)
        replies.update(zip(places, map(_seen, answered), strict=True))
    return [replies[place] for place in range(len(held))]


def came_back(replies: Iterable[Reply | None]) -> bool:
    """Whether any of it did."""
    return any(reply is not None and bool(reply[0]) for reply in replies)


def _by_store(receipts: list[Receipt]) -> list[tuple[Storage, list[int]]]:
    """The places of the receipts of each store: a grant of an outage lies in memory."""
    stores: dict[int, tuple[Storage, list[int]]] = {}
    for place, receipt in enumerate(receipts):
        stores.setdefault(id(receipt.store), (receipt.store, []))[1].append(place)
    return list(stores.values())


def _call(receipt: Receipt) -> Call:
    return (receipt.op, receipt.tag, receipt.args)


def _seen(reply: Reply | StorageError) -> Reply | None:
    if not isinstance(reply, StorageError):
        return reply
    if isinstance(reply, StorageProtocolError):
        telemetry.internal_error("rate_limiter", reply.operation, reply)
    return None
