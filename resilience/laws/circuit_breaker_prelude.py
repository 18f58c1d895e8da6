"""What the laws of the breaker share: its stored state, its epochs, how it opens and closes.

Keys, the same for each: state, probes, seen, failing, force. Times are integer microseconds, ratios parts of a million, backoff
and jitter thousandths. Each reply begins [answer, wait, moved] and goes on with what `view` says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from resilience.laws.keyspace import Keyspace, Reply

HOUR_US = 3_600_000_000
MAX_OPENINGS = 1_000  # counted no further, so that a backoff of nearly 1 ends its loop

State = dict[str, Any]
Force = Mapping[str, Any]


def begin(db: Keyspace, keys: Sequence[str], now: int) -> tuple[State | None, Force | None, int]:
    """A copy of the state and the force that still hold, and the time, which never runs back.

    The state of an idle breaker ends by its own stamp `x`, whether its key is still there or not.
    """
    state, force = db.get(keys[0]), db.get(keys[4])
    if state is not None:
        now = max(now, state["t"])
    if force is not None:
        now = max(now, force["t"])
    if state is not None and now >= state["x"]:
        state = None
    if force is not None and now >= force["until"]:
        force = None
    return (None if state is None else dict(state)), force, now


def fresh(now: int) -> State:
    """Closed, nothing counted. Its epoch is the time, so that no epoch returns after the keys were lost."""
    return {"s": "C", "e": now, "u": now, "o": 0, "t": now, "x": 0, "k": 0, "done": 0, "bad": 0, "buckets": ((0, 0, 0, 0),) * 10}


def save(db: Keyspace, keys: Sequence[str], state: State, now: int, ends: int) -> None:
    state["t"] = now
    state["x"] = ends
    db.set(keys[0], state, ends - now)


def live(ends_by_member: Mapping[str, int] | None, now: int) -> dict[str, int]:
    return {member: ends for member, ends in (ends_by_member or {}).items() if ends > now}


def keep(db: Keyspace, key: str, ends_by_member: dict[str, int], now: int) -> None:
    if ends_by_member:
        db.set(key, ends_by_member, max(ends_by_member.values()) - now)
    else:
        db.delete(key)


def move(db: Keyspace, keys: Sequence[str], state: State, now: int, to: str, until: int) -> None:
    """To another state, under a new epoch, all counts cleared. Who reported lately stays known: that is no count."""
    state.update(fresh(now), s=to, e=max(state["e"] + 1, now), u=until, o=state["o"])
    db.delete(keys[1])
    db.delete(keys[3])
    save(db, keys, state, now, max(until, now) + HOUR_US)


def part(amount: int, thousandths: int) -> int:
    """amount·thousandths/1000, rounded down. In two steps, as the script must do it: one product would pass 2^53."""
    return amount // 1_000 * thousandths + amount % 1_000 * thousandths // 1_000


def open_up(
    db: Keyspace, keys: Sequence[str], state: State, now: int, open_us: int, backoff: int, open_max_us: int, jitter: int
) -> None:
    """Open until `u`: longer after each opening in a row. A breaker closed for ten times `open_us` begins anew."""
    if state["s"] == "C" and now - state["u"] >= 10 * open_us:
        state["o"] = 0
    wait = min(open_us, open_max_us)
    if backoff > 1_000 and state["o"] > 0:
        for _ in range(state["o"]):
            if wait >= open_max_us:
                break
            wait = min(open_max_us, part(wait, backoff))
        wait = min(open_max_us, wait + part(wait, jitter))
    state["o"] = min(MAX_OPENINGS, state["o"] + 1)
    move(db, keys, state, now, "O", now + wait)


def tell(db: Keyspace, channel: str, name: str, to: str, epoch: int) -> None:
    """News for the other processes; they ask for the rest."""
    if channel:
        db.publish(channel, f'{{"type":"circuit_breaker","name":"{name}","to":"{to}","epoch":{epoch}}}')


def reply(answer: str, wait: int, moved: str, state: State | None, force: Force | None, now: int) -> Reply:
    """What the caller asked for, then what it should know: state, epoch, time left open, openings in a row, and the force."""
    head: Reply = [answer, wait, moved]
    if state is None:
        head += ["C", 0, 0, 0]
    else:
        head += [state["s"], state["e"], max(0, state["u"] - now) if state["s"] == "O" else 0, state["o"]]
    if force is None:
        return [*head, "", 0, 0, "", ""]
    return [*head, force["to"], force["until"] - now, force["until"], force["reason"], force["author"]]
