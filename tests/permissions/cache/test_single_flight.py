from __future__ import annotations

import contextlib
import gc
import os
import random
import re
import signal
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Collection
from typing import Any

import pytest

from permissions.cache import single_flight
from permissions.cache.single_flight import Batcher

PATIENCE_S = 30.0


class Killed(BaseException):
    """What ends a thread in mid-fill: a SystemExit, a cancelled task."""


class Source:
    """A fill under the test's control: each call may be held at its door, and answers with its own number."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.lock = threading.Lock()
        self.doors: dict[str, threading.Event] = {}
        self.began: dict[str, threading.Event] = {}
        self.faults: list[BaseException] = []
        self.absent: set[str] = set()

    def hold(self, key: str) -> threading.Event:
        """The next fill that has `key` begins and waits. Set the answer to let it go on."""
        self.began[key] = threading.Event()
        door = self.doors[key] = threading.Event()
        return door

    def fill(self, keys: list[str]) -> dict[str, int]:
        with self.lock:
            self.calls.append(keys)
            number = len(self.calls)
            doors = [self.doors.pop(key) for key in keys if key in self.doors]
            fault = self.faults.pop(0) if self.faults else None
        for key in keys:
            if key in self.began:
                self.began[key].set()
        for door in doors:
            assert door.wait(PATIENCE_S)
        if fault is not None:
            raise fault
        return {key: number for key in keys if key not in self.absent}


class Caller(threading.Thread):
    def __init__(self, batcher: Batcher[str, int], keys: Collection[str], *, fresh: bool = False) -> None:
        super().__init__(daemon=True)
        self.batcher, self.keys, self.fresh = batcher, keys, fresh
        self.found: dict[str, int] = {}
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self.found = self.batcher.get(self.keys, fresh=self.fresh)
        except BaseException as error:  # noqa: BLE001 - raised again by result()
            self.error = error

    def result(self) -> dict[str, int]:
        self.join(PATIENCE_S)
        assert not self.is_alive()
        if self.error is not None:
            raise self.error
        return self.found


def until(true: Callable[[], Any]) -> None:
    """Until another thread has got there: it shows nothing of itself before it waits."""
    pause, turns = threading.Event(), 0
    while not true():
        pause.wait(0.001)
        turns += 1
        assert turns < PATIENCE_S * 1000


def waits(batcher: Batcher[str, int], visits: int) -> None:
    """Until so many calls stand at a closed gate, or are at a fill."""

    def there() -> bool:
        book = batcher._book
        with book.lock:
            known = {v for b in [*book.queue, *book.running.values(), *book.pending.values()] for v in b.visits}
            return sum(1 for v in known if v.running or v.gate is not None) >= visits

    until(there)


def idle(batcher: Batcher[str, int]) -> bool:
    book = batcher._book
    return not book.running and not book.pending and not book.queue and batcher.running == 0 and batcher.waiting == 0


@pytest.fixture
def source() -> Source:
    return Source()


def test_a_lone_caller_fills_its_keys_in_one_batch(source: Source) -> None:
    batcher = Batcher(source.fill)
    assert batcher.get(["a", "b", "a"]) == {"a": 1, "b": 1}
    assert source.calls == [["a", "b"]]
    assert idle(batcher)


def test_no_keys_ask_nothing(source: Source) -> None:
    assert Batcher(source.fill).get([]) == {}
    assert source.calls == []


def test_a_key_that_the_fill_leaves_out_is_left_out(source: Source) -> None:
    source.absent = {"b"}
    assert Batcher(source.fill).get(["a", "b"]) == {"a": 1}


def test_callers_of_one_key_share_the_fill_that_runs(source: Source) -> None:
    batcher = Batcher(source.fill)
    door = source.hold("a")
    callers = [Caller(batcher, ["a"]) for _ in range(8)]
    waits(batcher, 8)
    door.set()
    assert [c.result() for c in callers] == [{"a": 1}] * 8
    assert source.calls == [["a"]]
    assert idle(batcher)


def test_an_answer_is_not_kept_for_the_next_caller(source: Source) -> None:
    batcher = Batcher(source.fill)
    batcher.get(["a"])
    assert batcher.get(["a"]) == {"a": 2}


def test_what_waits_while_all_places_are_taken_becomes_one_batch(source: Source) -> None:
    batcher = Batcher(source.fill, max_running=2)
    doors = [source.hold("a"), source.hold("b")]
    first = [Caller(batcher, ["a"]), Caller(batcher, ["b"])]
    until(lambda: batcher.running == 2)
    later = [Caller(batcher, [key]) for key in "cdefg"]
    waits(batcher, 7)
    doors[0].set()
    for caller in later:
        caller.result()
    doors[1].set()
    for caller in first:
        caller.result()
    assert len(source.calls) == 3
    assert sorted(source.calls[2]) == list("cdefg")
    assert idle(batcher)


def test_a_batch_is_never_longer_than_allowed(source: Source) -> None:
    batcher = Batcher(source.fill, max_batch=3, max_running=1)
    assert len(batcher.get([f"k{i}" for i in range(8)])) == 8
    door = source.hold("a")
    callers = [Caller(batcher, ["a"])]
    until(lambda: batcher.running == 1)
    callers += [Caller(batcher, [f"w{i}", f"x{i}"]) for i in range(4)]
    waits(batcher, 5)
    door.set()
    for caller in callers:
        assert set(caller.result()) == set(caller.keys)
    assert [len(call) for call in source.calls] == [3, 3, 2, 1, 3, 3, 2]


def test_a_fresh_caller_is_not_answered_by_a_fill_that_began_before_it_came(source: Source) -> None:
    batcher = Batcher(source.fill)
    door = source.hold("a")
    old = Caller(batcher, ["a"])
    assert source.began["a"].wait(PATIENCE_S)
    fresh = [Caller(batcher, ["a"], fresh=True) for _ in range(3)]
    waits(batcher, 4)
    # Places are free, but one id is filled by one at a time.
    assert source.calls == [["a"]]
    content = Caller(batcher, ["a"])
    waits(batcher, 5)
    door.set()
    assert old.result() == content.result() == {"a": 1}
    assert [c.result() for c in fresh] == [{"a": 2}] * 3
    assert source.calls == [["a"], ["a"]]
    assert idle(batcher)


def test_a_fresh_caller_joins_a_batch_that_has_not_begun(source: Source) -> None:
    batcher = Batcher(source.fill, max_running=1)
    door = source.hold("a")
    callers = [Caller(batcher, ["a"])]
    until(lambda: batcher.running == 1)
    callers.append(Caller(batcher, ["b"]))
    waits(batcher, 2)
    callers.append(Caller(batcher, ["b"], fresh=True))
    waits(batcher, 3)
    door.set()
    assert [c.result() for c in callers] == [{"a": 1}, {"b": 2}, {"b": 2}]


def test_a_fresh_caller_waits_for_no_fill_but_that_of_its_own_key(source: Source) -> None:
    batcher = Batcher(source.fill)
    doors = source.hold("a"), source.hold("b")
    old = [Caller(batcher, ["a"]), Caller(batcher, ["b"])]
    until(lambda: batcher.running == 2)
    fresh = Caller(batcher, ["a"], fresh=True)
    waits(batcher, 3)
    doors[0].set()
    assert fresh.result() == {"a": 3}
    doors[1].set()
    assert [c.result() for c in old] == [{"a": 1}, {"b": 2}]


def test_an_error_reaches_every_caller_of_that_batch_as_one_object_and_nobody_else(source: Source) -> None:
    batcher = Batcher(source.fill)
    fault = ConnectionError("the database went away")
    source.faults = [fault]
    door = source.hold("a")
    hit = [Caller(batcher, ["a"])]
    assert source.began["a"].wait(PATIENCE_S)
    hit += [Caller(batcher, ["a"]) for _ in range(3)]
    waits(batcher, 4)
    assert batcher.get(["b"]) == {"b": 2}
    door.set()
    for caller in hit:
        with pytest.raises(ConnectionError) as caught:
            caller.result()
        assert caught.value is fault
    assert idle(batcher)
    assert batcher.get(["a"]) == {"a": 3}


def test_an_error_in_one_part_of_many_keys_leaves_nothing_behind(source: Source) -> None:
    batcher = Batcher(source.fill, max_batch=2)
    batcher.get(["x"])
    source.faults = [ValueError("bad row")]
    with pytest.raises(ValueError, match="bad row"):
        batcher.get([f"k{i}" for i in range(6)])
    assert idle(batcher)


def test_the_traceback_of_a_shared_error_does_not_grow_with_its_callers(source: Source) -> None:
    batcher = Batcher(source.fill)
    source.faults = [ValueError("bad row")]
    door = source.hold("a")
    callers = [Caller(batcher, ["a"])]
    assert source.began["a"].wait(PATIENCE_S)
    callers += [Caller(batcher, ["a"]) for _ in range(20)]
    waits(batcher, 21)
    door.set()
    for caller in callers:
        caller.join(PATIENCE_S)
    traceback, frames = callers[0].error.__traceback__ if callers[0].error else None, 0
    while traceback is not None:
        traceback, frames = traceback.tb_next, frames + 1
    assert 1 <= frames <= 6


def test_an_error_does_not_keep_what_it_was_about_alive() -> None:
    class Row(Exception):
        pass

    held: list[weakref.ref[Row]] = []

    def fill(keys: list[str]) -> dict[str, int]:
        error = Row()
        held.append(weakref.ref(error))
        try:
            raise error
        finally:
            del error

    gc.disable()
    try:
        with contextlib.suppress(Row):
            Batcher(fill).get(["a"])
        assert held[0]() is None
    finally:
        gc.enable()


def test_callers_of_a_fill_whose_thread_is_ended_do_it_among_themselves(source: Source) -> None:
    batcher = Batcher(source.fill)
    source.faults = [Killed()]
    door = source.hold("a")
    dies = Caller(batcher, ["a", "b"])
    assert source.began["a"].wait(PATIENCE_S)
    others = [Caller(batcher, ["a"]), Caller(batcher, ["b", "a"])]
    waits(batcher, 3)
    door.set()
    with pytest.raises(Killed):
        dies.result()
    for caller in others:
        assert set(caller.result()) == set(caller.keys)
    assert idle(batcher)


def test_whoever_waits_for_a_place_is_woken_when_the_thread_that_had_it_is_ended(source: Source) -> None:
    batcher = Batcher(source.fill, max_running=1)
    source.faults = [Killed()]
    door = source.hold("a")
    dies = Caller(batcher, ["a"])
    assert source.began["a"].wait(PATIENCE_S)
    other = Caller(batcher, ["b"])
    waits(batcher, 2)
    door.set()
    assert other.result() == {"b": 2}
    with pytest.raises(Killed):
        dies.result()
    assert idle(batcher)


def test_without_that_call_it_would_sleep_on(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(single_flight._Book, "wake_locked", lambda book: None)
    batcher = Batcher(source.fill, max_running=1, limit_s=PATIENCE_S)
    door = source.hold("a")
    holder = Caller(batcher, ["a"])
    assert source.began["a"].wait(PATIENCE_S)
    other = Caller(batcher, ["b"])
    waits(batcher, 2)
    door.set()
    assert holder.result() == {"a": 1}
    assert batcher.running == 0
    assert batcher.waiting == 1
    assert batcher.get(["b"]) == other.result() == {"b": 2}


def test_a_caller_waits_for_others_only_so_long_and_takes_its_keys_back(source: Source) -> None:
    batcher = Batcher(source.fill, max_running=1, limit_s=0.02)
    door = source.hold("a")
    holder = Caller(batcher, ["a"])
    assert source.began["a"].wait(PATIENCE_S)
    for keys, fresh in ((["a"], False), (["a"], True), (["b"], False), (["a", "b"], True)):
        with pytest.raises(TimeoutError, match=r"0\.02 s"):
            batcher.get(keys, fresh=fresh)
        assert batcher.waiting == 0
    door.set()
    assert holder.result() == {"a": 1}
    assert source.calls == [["a"]]
    assert idle(batcher)


def test_one_that_gives_up_leaves_the_batch_to_those_who_still_wait(source: Source) -> None:
    patient, hasty = Batcher(source.fill, max_running=1), Batcher(source.fill, max_running=1, limit_s=0.02)
    hasty._book = patient._book
    door = source.hold("a")
    holder = Caller(patient, ["a"])
    assert source.began["a"].wait(PATIENCE_S)
    stays = Caller(patient, ["b"])
    waits(patient, 2)
    with pytest.raises(TimeoutError):
        hasty.get(["b", "c"])
    door.set()
    # `c` shared the batch and is filled with it: nobody asks, and nobody is hurt.
    assert stays.result() == {"b": 2}
    assert holder.result() == {"a": 1}
    assert idle(patient)


def test_a_fresh_key_that_was_taken_back_can_be_asked_for_again(source: Source) -> None:
    patient, hasty = Batcher(source.fill), Batcher(source.fill, limit_s=0.02)
    hasty._book = patient._book
    door = source.hold("a")
    holder = Caller(patient, ["a"])
    assert source.began["a"].wait(PATIENCE_S)
    with pytest.raises(TimeoutError):
        hasty.get(["a"], fresh=True)
    again = Caller(patient, ["a"], fresh=True)
    waits(patient, 2)
    door.set()
    assert again.result() == {"a": 2}
    assert holder.result() == {"a": 1}
    assert source.calls == [["a"], ["a"]]
    assert idle(patient)


def test_a_fill_holds_no_lock(source: Source) -> None:
    seen = []

    def fill(keys: list[str]) -> dict[str, int]:
        seen.append((batcher._book.lock.locked(), batcher.running))
        return dict.fromkeys(keys, 1)

    batcher = Batcher(fill)
    batcher.get(["a"])
    assert seen == [(False, 1)]


def test_a_forked_child_starts_anew(source: Source) -> None:
    batcher = Batcher(source.fill, max_running=1)
    door = source.hold("a")
    holder = Caller(batcher, ["a"])
    assert source.began["a"].wait(PATIENCE_S)
    with batcher._book.lock:  # as if another thread stood in the middle of it
        child = os.fork()
        if child == 0:
            ok = batcher.get(["a", "b"]) == {"a": 2, "b": 2} and idle(batcher)
            os._exit(0 if ok else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert batcher.running == 1
    door.set()
    assert holder.result() == {"a": 1}


def test_a_fill_that_forks_ends_in_the_child_too() -> None:
    def fill(keys: list[str]) -> dict[str, int]:
        lock = batcher._book.lock
        lock.acquire()  # as if another thread had it, which is not in the child to give it back
        child = os.fork()
        if child == 0:
            signal.alarm(int(PATIENCE_S))
        else:
            lock.release()
        return dict.fromkeys(keys, child)

    batcher = Batcher(fill)
    try:
        child = batcher.get(["a"])["a"]
    except BaseException:  # noqa: BLE001 - a child must never go on with the test run
        os._exit(1)
    if child == 0:
        os._exit(0 if idle(batcher) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert idle(batcher)


def test_one_that_leaves_with_an_error_hands_on_the_place_it_was_called_to(source: Source) -> None:
    batcher = Batcher(source.fill, max_running=1, limit_s=4 * PATIENCE_S)
    source.faults = [ConnectionError()]
    door = source.hold("a")
    holder = Caller(batcher, ["a"])
    assert source.began["a"].wait(PATIENCE_S)
    wants_both = Caller(batcher, ["a", "b"])
    waits(batcher, 2)
    other = Caller(batcher, ["b"])
    waits(batcher, 3)
    door.set()
    assert other.result() == {"b": 2}
    for caller in (holder, wants_both):
        with pytest.raises(ConnectionError):
            caller.result()
    assert idle(batcher)


def test_one_that_is_ended_before_its_fill_has_begun_gives_its_place_back(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    batcher = Batcher(source.fill, max_running=1)

    def ended(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(batcher, "_run", ended)
        batcher.get(["a"])
    assert idle(batcher)
    assert batcher.get(["a"]) == {"a": 1}


def test_whoever_comes_late_does_not_overtake_those_who_are_being_woken() -> None:
    book: single_flight._Book[str, int] = single_flight._Book(1, 1)
    early, late = single_flight._Visit[str, int](), single_flight._Visit[str, int]()
    book.enlist_locked(early, ["a"], False)
    book.enlist_locked(late, ["b"], False)
    assert book.begin_locked(late) is None
    first = book.begin_locked(early)
    assert first is not None
    assert first.keys == ["a"]
    assert book.begin_locked(late) is None
    book.end_locked(early, first)
    assert book.begin_locked(late) is not None


def test_a_batch_whose_callers_are_all_busy_keeps_no_place_empty() -> None:
    book: single_flight._Book[str, int] = single_flight._Book(1, 2)
    busy, late = single_flight._Visit[str, int](), single_flight._Visit[str, int]()
    book.enlist_locked(busy, ["a", "b"], False)
    book.enlist_locked(late, ["c"], False)
    assert book.begin_locked(busy) is not None
    assert [batch.keys for batch in book.queue] == [["b"], ["c"]]
    begun = book.begin_locked(late)
    assert begun is not None
    assert begun.keys == ["c"]


@pytest.mark.parametrize("value", [0, -1, True, 1.0, "4", None, 10_001, float("nan")])
def test_it_refuses_numbers_of_batches_and_fills_that_are_none(value: Any, source: Source) -> None:
    with pytest.raises(ValueError, match=r"max_batch is .*whole number"):
        Batcher(source.fill, max_batch=value)
    with pytest.raises(ValueError, match=r"max_running is .*whole number"):
        Batcher(source.fill, max_running=value)


@pytest.mark.parametrize("value", [0, -1, True, "1", None, float("nan"), float("inf"), 1e9])
def test_it_refuses_a_limit_that_is_none(value: Any, source: Source) -> None:
    with pytest.raises(ValueError, match=r"limit_s is .*seconds"):
        Batcher(source.fill, limit_s=value)


@pytest.mark.parametrize("keys", ["user:a", b"user:a"])
def test_a_text_is_not_taken_for_its_letters(keys: Any, source: Source) -> None:
    with pytest.raises(TypeError, match="must be a collection of keys"):
        Batcher(source.fill).get(keys)
    assert source.calls == []


def test_a_key_that_cannot_be_one_changes_nothing(source: Source) -> None:
    batcher = Batcher(source.fill)
    bad: Any = [["a"]]
    for keys in (bad, ["b", *bad]):
        with pytest.raises(TypeError):
            batcher.get(keys)
        assert idle(batcher)
    assert source.calls == []


def test_a_fill_that_answers_no_dict_is_told_so() -> None:
    nothing: Any = lambda keys: None  # noqa: E731
    with pytest.raises(TypeError, match="a fill must answer a dict, not NoneType"):
        Batcher(nothing).get(["a"])


def test_the_example_of_its_page_runs(pytestconfig: pytest.Config) -> None:
    page = (pytestconfig.rootpath / "docs/subsystems/single_flight.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(example, {})


def storm(batcher_class: type[Batcher[int, int]], seed: int, *, callers: int = 24, rounds: int = 120) -> list[str]:
    """Many threads, few keys, faults and killed fills. Answers what was wrong, by name."""
    lock, wrong = threading.Lock(), Counter[str]()
    now, live = 0, Counter[int]()
    dice = random.Random(seed)

    def fill(keys: list[int]) -> dict[int, int]:
        nonlocal now
        with lock:
            now += 1
            mine, fault, slow = now, dice.random(), dice.random() < 0.3
            live.update(keys)
            wrong["one id twice at a time"] += any(live[key] > 1 for key in keys)
            live[-1] += 1
            wrong["too many fills"] += live[-1] > 3
            wrong["too long a batch"] += len(keys) > 5 or len(set(keys)) < len(keys)
        try:
            if slow:
                threading.Event().wait(0.001)
            if fault < 0.03:
                raise ConnectionError
            if fault < 0.06:
                raise Killed
            return {key: mine for key in keys if key % 7}
        finally:
            with lock:
                live.subtract(keys)
                live[-1] -= 1

    batcher = batcher_class(fill, max_batch=5, max_running=3, limit_s=PATIENCE_S)

    def work(place: int) -> None:
        own = random.Random(seed * 1000 + place)
        for _ in range(rounds):
            keys = own.sample(range(30), own.choice([1, 1, 1, 2, 3, 9]))
            fresh = own.random() < 0.4
            with lock:
                came = now
            try:
                found = batcher.get(keys, fresh=fresh)
            except (ConnectionError, Killed):
                continue
            except TimeoutError:
                wrong["never woken"] += 1
                return
            wrong["not the keys asked for"] += set(found) != {key for key in keys if key % 7}
            wrong["not fresh"] += fresh and any(number <= came for number in found.values())

    threads = [threading.Thread(target=work, args=(place,), daemon=True) for place in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    wrong["left behind"] += not idle(batcher)  # type: ignore[arg-type]
    return sorted(name for name, times in wrong.items() if times)


@pytest.mark.parametrize("seed", range(4))
def test_a_storm_of_callers_with_faults_breaks_no_promise(seed: int) -> None:
    assert storm(Batcher, seed) == []


class _Joins(Batcher[int, int]):
    """Takes everybody for content with any fill."""

    def get(self, keys: Collection[int], *, fresh: bool = False) -> dict[int, int]:
        return super().get(keys)


class _NoSuccessor(Batcher[int, int]):
    """Begins a fresh fill beside the one that runs."""

    def _begin(self) -> None:
        class Book(single_flight._Book[int, int]):
            def _new_place_locked(self, key: int, runs_it: Any) -> Any:
                return super()._new_place_locked(key, None)

            def end_locked(self, visit: Any, batch: Any) -> None:
                for key in batch.keys:
                    self.running.setdefault(key, batch)
                super().end_locked(visit, batch)

        self._book = Book(self._max_batch, self._max_running)


class _TooMany(Batcher[int, int]):
    def _begin(self) -> None:
        self._book = single_flight._Book(self._max_batch, self._max_running + 1)
        self._max_running += 1


class _TooLong(Batcher[int, int]):
    def _begin(self) -> None:
        self._book = single_flight._Book(self._max_batch + 4, self._max_running)


@pytest.mark.parametrize(
    ("mutant", "caught"),
    [
        (_Joins, "not fresh"),
        (_NoSuccessor, "one id twice at a time"),
        (_TooMany, "too many fills"),
        (_TooLong, "too long a batch"),
    ],
)
def test_the_storm_catches_a_planted_fault(mutant: type[Batcher[int, int]], caught: str) -> None:
    assert any(caught in storm(mutant, seed) for seed in range(5))
