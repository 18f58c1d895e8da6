"""What the laws of the breaker share: its stored state, its epochs, how it opens and closes.

Keys, the same for each: state, probes, seen, failing, force. Times are integer microseconds, ratios parts of a million, backoff
and jitter thousandths. Each reply begins [answer, wait, moved] and goes on with what the caller should know.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from resilience.laws.keyspace import Keyspace, Reply

HOUR_US = 3_600_000_000
MAX_OPENINGS = 1_000  # counted no further, so that a backoff of nearly 1 ends its loop


class Opening(NamedTuple):
    """How long an opening lasts."""

    open_us: int
    backoff: int
    longest_us: int
    jitter: int


class Stored:
    """The state and the force that still hold, and the time, which never runs back.

    The state of an idle breaker ends by its own stamp `x`, whether its key is still there or not.
    """

    __slots__ = ("channel", "db", "force", "keys", "name", "now", "state")

    def __init__(self, db: Keyspace, keys: Sequence[str], now: int, channel: str = "", name: str = "") -> None:
        self.db, self.keys, self.channel, self.name = db, keys, channel, name
        state, force = db.get(keys[0]), db.get(keys[4])
        self.now = now = max(now, state["t"] if state else 0, force["t"] if force else 0)
        self.state: dict[str, Any] = dict(state) if state and now < state["x"] else {}
        self.force: Mapping[str, Any] = force if force and now < force["until"] else {}

    def create(self) -> None:
        """Closed, nothing counted. Its epoch is the time, so that no epoch returns after the keys were lost."""
        self.state = {"s": "C", "e": self.now, "u": self.now, "o": 0, **NOTHING}
        self.save(self.now + HOUR_US)

    def save(self, ends: int) -> None:
        self.state["t"] = self.now
        self.state["x"] = ends
        self.db.set(self.keys[0], self.state, ends - self.now)

    def live(self, position: int) -> dict[str, int]:
        """The members of one of the sets whose end has not come."""
        return {member: ends for member, ends in (self.db.get(self.keys[position]) or {}).items() if ends > self.now}

    def keep(self, position: int, members: dict[str, int]) -> None:
        """The key lives as long as its last member."""
        if members:
            self.db.set(self.keys[position], members, max(members.values()) - self.now)
        else:
            self.db.delete(self.keys[position])

    def join(self, position: int, member: str, ends: int) -> dict[str, int]:
        members = {**self.live(position), member: ends}
        self.keep(position, members)
        return members

    def take_back(self, probe: str) -> bool:
        """Whether the probe was out, with its lease still running. It no longer is."""
        probes = self.live(1)
        if probes.pop(probe, None) is None:
            return False
        self.keep(1, probes)
        return True

    def move(self, to: str, until: int) -> None:
        """To another state, under a new epoch, all counts cleared. Who reported lately stays known: that is no count."""
        self.state.update(NOTHING, s=to, e=max(self.state["e"] + 1, self.now), u=until)
        self.db.delete(self.keys[1])
        self.db.delete(self.keys[3])
        self.save(max(until, self.now) + HOUR_US)

    def open_up(self, opening: Opening) -> None:
        """Open until `u`: longer after each opening in a row. A breaker closed for ten times `open_us` begins anew."""
        state = self.state
        if state["s"] == "C" and self.now - state["u"] >= 10 * opening.open_us:
            state["o"] = 0
        wait = min(opening.open_us, opening.longest_us)
        if opening.backoff > 1_000 and state["o"] > 0:
            for _ in range(state["o"]):
                if wait >= opening.longest_us:
                    break
                wait = min(opening.longest_us, part(wait, opening.backoff))
            wait = min(opening.longest_us, wait + part(wait, opening.jitter))
        state["o"] = min(MAX_OPENINGS, state["o"] + 1)
        self.move("O", self.now + wait)

    def counted(self, index: int) -> tuple[int, int, int]:
        """Calls, failed and slow ones in the ten buckets that end with `index`: 0.9 to 1 window."""
        valid = [bucket for bucket in self.state["buckets"] if index - 10 < bucket[0] <= index]
        calls, failed, slow = (sum(bucket[position] for bucket in valid) for position in (1, 2, 3))
        return calls, failed, slow

    def tell(self, to: str) -> None:
        """News for the other processes; they ask for the rest."""
        if self.channel:
            epoch = self.state.get("e", 0)
            self.db.publish(self.channel, f'{{"type":"circuit_breaker","name":"{self.name}","to":"{to}","epoch":{epoch}}}')

    def reply(self, answer: str, wait: int = 0, moved: str = "") -> Reply:
        """What was asked for; then state, epoch, time left open, openings in a row, and the force."""
        state, force = self.state, self.force
        said: Reply = [answer, wait, moved, "C", 0, 0, 0, "", 0, 0, "", ""]
        if state:
            left = max(0, state["u"] - self.now) if state["s"] == "O" else 0
            said[3:7] = [state["s"], state["e"], left, state["o"]]
        if force:
            said[7:] = [force["to"], force["until"] - self.now, force["until"], force["reason"], force["author"]]
        return said


NOTHING: Mapping[str, Any] = {"k": 0, "done": 0, "bad": 0, "buckets": ((0, 0, 0, 0),) * 10}


def part(amount: int, thousandths: int) -> int:
    """amount·thousandths/1000, rounded down. In two steps, as the script must do it: one product would pass 2^53."""
    return amount // 1_000 * thousandths + amount % 1_000 * thousandths // 1_000
