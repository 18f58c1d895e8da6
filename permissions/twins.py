"""The asynchronous twins: what memory can answer is answered on the event loop, all else in a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial, wraps
from time import clock_gettime_ns
from typing import Any, Unpack
from weakref import WeakKeyDictionary

from permissions.asking import in_thread
from permissions.cache.reading import CLOCK
from permissions.cache.realm import STATES
from permissions.cache.transactions import waits_with_writes
from permissions.deciding import (
    MAX_BATCH,
    Options,
    check,
    check_many,
    decide,
    decide_many,
    explain,
    explain_request,
    refresh,
    token_at,
)
from permissions.engine.questions import Question
from permissions.engine.types import Decision, Request
from permissions.revisions import Token
from permissions.warm import (
    plain,
    warm,
    warm_many,
)
from permissions.warm_batch import plain_many
from resilience.maintenance import SWITCH

_check_in_thread = in_thread(check)
_check_many_in_thread = in_thread(check_many)
_decide_in_thread = in_thread(decide)
_decide_many_in_thread = in_thread(decide_many)


_refresh_in_thread = in_thread(refresh)
# Of each event loop, the realms whose head a thread is asking for.
_refreshing: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, asyncio.Task[None]]] = WeakKeyDictionary()


def is_stale(realm: str) -> bool:
    """Whether nothing but the age of what memory holds keeps it from answering."""
    try:
        state = STATES.get(realm)
    except TypeError:  # no text: the slow way says so
        return False
    return state is not None and SWITCH.on is None and clock_gettime_ns(CLOCK) - state.known_head_ns > state.max_age_ns


def _asked(running: dict[str, asyncio.Task[None]], realm: str, task: asyncio.Task[None]) -> None:
    if running.get(realm) is task:
        del running[realm]
    if not task.cancelled():
        task.exception()  # looked at: all who waited may have left, and asyncio would log it as nobody's


async def afresh(realm: str) -> None:
    """Has the head asked for, once for all who wait. Raises what a check raises.

    On a host so busy that the follower comes late, every check of that moment would take a thread of its own to ask: 150 a
    second where there had been 8,000 (measured).
    """
    running = _refreshing.setdefault(asyncio.get_running_loop(), {})
    task = running.get(realm)
    if task is None:
        task = running[realm] = asyncio.ensure_future(_refresh_in_thread(realm))
        task.add_done_callback(partial(_asked, running, realm))
    await asyncio.wait([task])  # whoever waits may leave, and takes nobody else's answer along
    task.result()


@wraps(check)
async def acheck(
    subject: str, permission: str, resource: str | None = None, *, realm: str = "default", **options: Unpack[Options]
) -> Decision:
    """`check` for asynchronous callers: a plain question is answered where it is asked, any other in a thread."""
    if not options and not waits_with_writes():
        decision = plain(subject, permission, resource, realm)
        if decision is None and is_stale(realm):
            await afresh(realm)
            decision = plain(subject, permission, resource, realm)
        if decision is not None:
            return decision
    return await _check_in_thread(subject, permission, resource, realm=realm, **options)


@wraps(check_many)
async def acheck_many(items: Sequence[Question], **options: Any) -> list[Decision]:
    if len(items) <= MAX_BATCH and not options.keys() - {"realm"} and not waits_with_writes():
        decisions = plain_many(items, options.get("realm", "default"))
        if decisions is not None:
            return decisions
    return await _check_many_in_thread(items, **options)


@wraps(decide)
async def adecide(
    request: Request, *, realm: str = "default", token: str | Token | None = None, superuser: bool = False, **options: Any
) -> Decision:
    if token is None and not options and is_stale(realm) and not waits_with_writes():
        await afresh(realm)
        decision = warm(request, realm, superuser=superuser)
        if decision is not None:
            return decision
    return await _decide_in_thread(request, realm=realm, token=token, superuser=superuser, **options)


@wraps(decide_many)
async def adecide_many(
    requests: Sequence[Request],
    *,
    realm: str = "default",
    token: str | Token | None = None,
    superuser: bool = False,
    **options: Any,
) -> list[Decision]:
    if token is None and not options and is_stale(realm) and not waits_with_writes():
        await afresh(realm)
        decisions = warm_many(requests, realm, superuser=superuser)
        if decisions is not None:
            return decisions
    return await _decide_many_in_thread(requests, realm=realm, token=token, superuser=superuser, **options)


aexplain = in_thread(explain)
aexplain_request = in_thread(explain_request)
atoken_at = in_thread(token_at)
