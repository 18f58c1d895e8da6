"""The state machine of the cache: every order of events that it can think of; no time passes but what it moves.

Three processes share a database of real snapshots, a second layer that lies as Redis may lie, and news that are lost, doubled and
swapped. After each step every process is asked. Source: consistency, sections 1 and 12.
"""

from __future__ import annotations

import random
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from permissions import pdp, points
from permissions.cache import catch_up, follower, known_ids, realm
from permissions.engine.reasons import Unavailable
from permissions.revisions import Head, TokenFromFuture, mint
from tests.chaos.consistency import drawing, mutants
from tests.chaos.consistency import world as w
from tests.properties.cache_cast import CODES, RESOURCES, SUBJECTS, Patches, steps_of
from tests.properties.cache_world import BOUND_S, MemoryDatabase, MemoryLayer, Process, VirtualClock, fault_of, stand_in

PROCESSES = 3
NAME = "alpha"
seeds = st.integers(0, 2**32 - 1)
processes = st.integers(0, PROCESSES - 1)
modes = st.sampled_from(("bounded", "bounded", "token", "full"))
STEP_MS = (1, 20, 120, 260, 499, 700)
KINDS = ("losses", "outages", "redis", "foreign", "boots", "polls", "filters", "flushes", "tokens", "critical", "model", "sleeps")


def only(kind: str) -> Any:
    return precondition(lambda self: kind in self.kinds)


class CacheMachine(RuleBasedStateMachine):
    mutant = ""
    ground: frozenset[str] | None = None
    kinds: set[str]

    def __init__(self) -> None:
        super().__init__()
        self.put = Patches()
        self.clock = VirtualClock()
        self.base = MemoryDatabase(self.clock, random.Random(0))
        self.layer = MemoryLayer()
        self.processes = [Process(number) for number in range(PROCESSES)]
        self.old_values: dict[bytes, bytes] = {}
        self.tokens: list[tuple[str, str, int, int]] = []
        self.seen: dict[tuple[int, str], int] = {}
        # Histories that ended: the last answers of a process that does not know yet are of these.
        self.ended: list[tuple[int, Any]] = []
        stand_in(self.put, self.base, self.layer, self.clock)
        # Halves so small that entries grow old, are promoted and fall out.
        self.put(realm, "SIZE", 4)
        self.put(realm, "SIZE_ABSENT", 2)
        mutants.apply(self.mutant, self.put)
        self.remove_hook = points.install(self._at_point)
        self.nested: list[int] = []

    def teardown(self) -> None:
        self.remove_hook()
        for process in self.processes:
            with process.running():
                pass
        self.put.undo()

    @initialize(seed=seeds, kinds=st.sets(st.sampled_from(KINDS)))
    def begin(self, seed: int, kinds: set[str]) -> None:
        """`kinds`: what happens in this life of the machine. With everything in each of them, one thing would undo the other:
        a token or a critical code brings the newest State, a restore drops what went wrong before it."""
        self.draw = random.Random(seed)
        self.kinds = kinds if self.ground is None else set(self.ground)
        self.base.add(NAME, drawing.SEED)

    # The database.

    @property
    def realm(self) -> Any:
        return self.base.realms[NAME]

    def _write(self, author: int, seed: int, *, raw: bool = False) -> None:
        steps = steps_of(random.Random(seed), self.clock.wall_us, raw=raw, with_model="model" in self.kinds)
        self._commit(author, steps, foreign=raw)

    def _commit(self, author: int, steps: list[Any], more: Any = (), *, foreign: bool = False) -> None:
        event = self.base.commit(NAME, steps, more)
        if event is None:
            return
        head = self.realm.head
        self.tokens.append((mint(head), head.epoch, head.rev, head.stamp))
        if foreign:  # SQL from outside tells nobody
            return
        for process in self.processes:
            if process.number != author:
                process.news.append(event)
        self.own = (author, event)

    def _tell_own(self) -> None:
        """What `invalidation` and `catch_up` do in the writer's own process, once it has committed."""
        author, event = self.own
        self.own = None
        process = self.processes[author]
        with process.running():
            if event.objects is None or not catch_up.apply_event(event):
                process.news.append(event)
            cache = catch_up.find(NAME)
            if cache is not None:
                cache.want(event.rev)

    own: Any = None

    @rule(author=processes, seed=seeds)
    def write(self, author: int, seed: int) -> None:
        self._write(author, seed)
        if self.own is not None:
            self._tell_own()
        self.everybody_answers()

    @only("foreign")
    @rule(seed=seeds)
    def write_by_foreign_sql(self, seed: int) -> None:
        self._write(0, seed, raw=True)
        self.everybody_answers()

    @rule(number=st.integers(1, 3))
    def roll_back(self, number: int) -> None:
        """Revisions drawn and given back leave nothing; the next writer draws the same numbers with other stamps."""
        self.base.draw.getrandbits(31 * number)

    @only("flushes")
    @rule(pattern=st.sampled_from(("subject:user:u*", "resource:doc:0", "role:editor", "team:team:a", "scope:box:0", "*")))
    def flush(self, pattern: str) -> None:
        self._commit(0, [], [("*", "")] if pattern == "*" else [("f", pattern)])
        self._tell_own()
        self.everybody_answers()

    @only("losses")
    @rule()
    def prune(self) -> None:
        self.realm.pruned = max(self.realm.pruned, self.realm.newest.rev - 2)

    @precondition(lambda self: "losses" in self.kinds and len(self.realm.revisions) > 1)
    @rule(number=st.integers(1, 4), seed=seeds, after=st.integers(0, 4))
    def lose_commits(self, number: int, seed: int, after: int) -> None:
        """And what is committed before any process has looked: the same numbers, other changes."""
        self._end_history()
        self.base.lose(NAME, number)
        for turn in range(after):
            self._write(turn % PROCESSES, seed + turn)
            self.own = None
        self.everybody_answers()

    @only("losses")
    @rule(number=st.integers(0, 3))
    def restore(self, number: int) -> None:
        self._end_history()
        self.base.lose(NAME, number)
        self.base.new_epoch(NAME)
        self.everybody_answers()

    def _end_history(self) -> None:
        import copy

        self.ended.append((self.clock.ns, copy.copy(self.realm)))
        self.ended[-1][1].revisions = list(self.realm.revisions)

    @only("outages")
    @rule()
    def database_goes(self) -> None:
        self.base.is_away = True
        self.everybody_answers()

    @only("outages")
    @rule()
    def database_comes(self) -> None:
        self.base.is_away = False
        self.everybody_answers()

    # The second layer.

    @only("redis")
    @rule()
    def redis_flips(self) -> None:
        self.layer.is_up = not self.layer.is_up

    @only("redis")
    @rule()
    def redis_is_flushed(self) -> None:
        self.layer.values.clear()

    @only("redis")
    @rule()
    def redis_is_dumped(self) -> None:
        self.old_values = dict(self.layer.values)

    @only("redis")
    @rule()
    def redis_comes_back_old(self) -> None:
        self.layer.values = dict(self.old_values)

    @only("redis")
    @rule(seed=seeds)
    def redis_sets_late(self, seed: int) -> None:
        draw = random.Random(seed)
        for key, value in draw.sample(self.layer.everything, min(20, len(self.layer.everything))):
            self.layer.values[key] = value
        self.everybody_answers()

    # The news.

    @rule(number=processes, seed=seeds)
    def news_arrive(self, number: int, seed: int) -> None:
        """One of those on their way, not always the first; it may come again."""
        process, draw = self.processes[number], random.Random(seed)
        if process.news:
            place = draw.choice((0, 0, draw.randrange(len(process.news))))
            event = process.news[place]
            if draw.random() > 0.2:
                del process.news[place]
            with process.running():
                process.hear(event)
        self.everybody_answers()

    @rule(number=processes)
    def news_are_lost(self, number: int) -> None:
        self.processes[number].news.clear()

    # A process.

    @only("polls")
    @rule(number=processes)
    def poll(self, number: int) -> None:
        with self.processes[number].running():
            follower.FOLLOWER.poll()
        self.everybody_answers()

    @only("boots")
    @rule(number=processes)
    def boot(self, number: int) -> None:
        self.processes[number].caches.clear()
        self.processes[number].states.clear()
        for key in [key for key in self.seen if key[0] == number]:
            del self.seen[key]

    @only("filters")
    @rule(number=processes)
    def filters_come_up(self, number: int) -> None:
        """Every id that a row names now; built from a snapshot of its own."""
        head, rows = self.realm.head, self.realm.newest.rows
        with self.processes[number].running():
            cache = catch_up.find(NAME)
            if cache is not None and cache.state is not None:
                subjects = known_ids.KnownIds(100, rows.subjects)
                resources = known_ids.KnownIds(100, rows.resources)
                cache.use_filters(head.rev, head, subjects, resources)

    @rule(step_ms=st.sampled_from(STEP_MS))
    def time_passes(self, step_ms: int) -> None:
        self.clock.ns += step_ms * 1_000_000 + 500
        self.everybody_answers()

    @rule(number=processes, seed=seeds, mode=modes, nested=st.lists(st.integers(0, 5), max_size=3))
    def check(self, number: int, seed: int, mode: str, nested: list[int]) -> None:
        """`nested`: what happens in other threads and processes between the read of this check and its store."""
        if mode == "token" and "tokens" not in self.kinds:
            mode = "bounded"
        self.nested = list(nested)
        self.base.meanwhile = self._meanwhile
        self._ask(number, mode, random.Random(seed))
        self.base.meanwhile = None
        self.nested = []
        self.everybody_answers()

    # What happens inside a check.

    def _at_point(self, name: str) -> None:
        cache = catch_up.find(NAME)
        # Whoever holds the cache's lock has no other thread beside him.
        if name in {"fill.read", "l1.old_hit"} and self.nested and cache is not None and not cache.lock._is_owned():  # type: ignore[attr-defined]
            self._meanwhile(name)

    def _meanwhile(self, where: str) -> None:
        actions, self.nested = self.nested, []
        for action in actions:
            if action in {0, 1, 2}:
                self._write(self.asking, self.draw.getrandbits(32))
                event, self.own = self.own, None
                # Another thread of this process hears of it at once. While the model is read nobody else can apply.
                if event is not None and action != 0 and where != "model":
                    catch_up.apply_event(event[1])
            elif action == 3:
                for key, value in self.draw.sample(self.layer.everything, min(10, len(self.layer.everything))):
                    self.layer.values[key] = value
            elif action == 4:
                self.clock.ns += 3_000_000
            elif where != "model":
                follower.FOLLOWER.poll()

    asking = 0

    # Answers.

    def everybody_answers(self) -> None:
        for number in range(PROCESSES):
            # A process may be idle for a while: it must not take its old State for a new one when it is asked again.
            if "sleeps" not in self.kinds or self.draw.random() < 0.4:
                is_token = "tokens" in self.kinds and self.draw.random() < 0.25
                self._ask(number, "token" if is_token else "bounded", self.draw)

    def _ask(self, number: int, mode: str, draw: random.Random) -> None:
        self.asking = number
        token, op = None, None
        if mode == "token" and self.tokens:
            op = draw.choice(self.tokens[-4:])
            token = op[0]
        codes = CODES if "critical" in self.kinds else [code for code in CODES if code != w.CRITICAL]
        questions = [
            (draw.choice(SUBJECTS), draw.choice(codes), draw.choice(RESOURCES), 0) for _ in range(draw.choice((1, 1, 1, 3)))
        ]
        start_ns = self.clock.ns
        with self.processes[number].running():
            try:
                if len(questions) == 1:
                    ((subject, code, resource, _),) = questions
                    decisions = [pdp.check(subject, code, resource, realm=NAME, token=token, full=mode == "full")]
                else:
                    decisions = pdp.check_many([q[:3] for q in questions], realm=NAME, token=token, full=mode == "full")
            except TokenFromFuture:
                assert op is not None
                assert not self._reached(op), f"a token that the realm had reached is refused: {op}"
                return
            except Unavailable:
                return
            state = realm.STATES.get(NAME)
            head = None if state is None else state.head
        self._judge(number, mode, op, questions, decisions, start_ns, head)

    def _reached(self, op: Any) -> bool:
        """In the present history, and in every one that a process may still take for it."""
        histories = [self.realm, *(ended for at_ns, ended in self.ended if self.clock.ns <= at_ns + BOUND_S * 1e9)]
        return all((found := history.at(op[2])) is not None and found.stamp == op[3] for history in histories)

    def _judge(  # noqa: PLR0917 - one answer
        self, number: int, mode: str, op: Any, questions: Any, decisions: Any, start_ns: int, head: Head | None
    ) -> None:
        faults = []
        histories = [self.realm, *(ended for at_ns, ended in self.ended if start_ns <= at_ns + BOUND_S * 1e9)]
        for history in histories:
            fault = fault_of(self.base, history, mode, op, questions, decisions, start_ns)
            if not fault:
                break
            faults.append(fault)
        else:
            raise AssertionError("; ".join(faults))
        if head is not None and len(histories) == 1:
            key = (number, head.epoch)
            assert head.rev >= self.seen.get(key, 0), f"C4: process {number} went from {self.seen[key]} back to {head.rev}"
            self.seen[key] = head.rev
