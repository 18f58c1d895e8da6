"""A thread stopped between two steps whose order the contract rests on; what others do meanwhile must stay right.

The cache is the real one, over a database and a second layer in memory. A wrong cache run through the same scene must be caught:
else the scene would prove nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from permissions import pdp, points
from permissions.cache import catch_up
from permissions.cache.realm import STATES
from permissions.engine.reasons import Unavailable
from permissions.revisions import mint
from tests.chaos.consistency import drawing, mutants
from tests.properties.cache_world import MemoryDatabase, MemoryLayer, VirtualClock, fault_of, stand_in

NAME = "alpha"
ALICE = ("user:u0", "doc:edit", "box:0", 0)
OTHER = ("user:u1", "doc:read", None, 0)
GRANT: list[Any] = ["bind", "user:u0", "editor", [], [], None, "", None, None, True]
REVOKE = ["unbind", "user:u0", "editor", None]
EDITORS_EDIT = ["role", "editor", [["allow", "doc:edit", ""], ["allow", "doc:read", ""]], ["reader"], [], None, None]
EDITORS_READ = ["role", "editor", [], ["reader"], [], None, None]
WAIT_S = 20


class Scene:
    """One process. `ask` judges each answer by the contract; what is broken is in `faults`."""

    def __init__(self, put: Callable[[Any, str, Any], object]) -> None:
        import random

        self.clock = VirtualClock()
        self.base = MemoryDatabase(self.clock, random.Random(1))
        self.layer = MemoryLayer()
        stand_in(put, self.base, self.layer, self.clock)
        self.base.add(NAME, [*drawing.SEED, GRANT])
        self.faults: list[str] = []
        self._threads: list[threading.Thread] = []

    def commit(self, *steps: Any) -> Any:
        """The news of it, which nobody has heard yet."""
        event = self.base.commit(NAME, list(steps))
        assert event is not None
        self.clock.ns += 1_000_000
        return event

    @property
    def token(self) -> tuple[str, str, int, int]:
        head = self.base.realms[NAME].head
        return (mint(head), head.epoch, head.rev, head.stamp)

    def ask(self, question: Any = ALICE, op: Any = None, *, full: bool = False) -> Any:
        start_ns = self.clock.ns
        try:
            decision = pdp.check(*question[:3], realm=NAME, token=op and op[0], full=full)
        except Unavailable:
            return None  # what cannot be kept is refused
        mode = "full" if full else "token" if op else "bounded"
        fault = fault_of(self.base, self.base.realms[NAME], mode, op, [question], [decision], start_ns)
        if fault:
            self.faults.append(fault)
        return decision

    def beside(self, work: Callable[[], object]) -> threading.Thread:
        def run() -> None:
            try:
                work()
            except Exception as error:  # noqa: BLE001 - told in the test's own thread
                self.faults.append(f"{type(error).__name__}: {error}")

        thread = threading.Thread(target=run)
        self._threads.append(thread)
        thread.start()
        return thread

    def end(self) -> None:
        for thread in self._threads:
            thread.join(WAIT_S)
            assert not thread.is_alive()


class Stop:
    """Stops the first thread that comes by the point. Used as a block: at its end the thread goes on."""

    def __init__(self, point: str) -> None:
        assert point in points.NAMES
        self.point = point
        self.reached = threading.Event()
        self.go = threading.Event()

    def _at(self, name: str) -> None:
        if name == self.point and not self.reached.is_set():
            self.reached.set()
            assert self.go.wait(WAIT_S)

    def __enter__(self) -> Stop:
        self.remove = points.install(self._at)
        return self

    def __exit__(self, *error: object) -> None:
        self.go.set()
        self.remove()

    def wait(self) -> None:
        assert self.reached.wait(WAIT_S), f"nobody came by {self.point}"


@pytest.fixture
def scene(monkeypatch) -> Iterator[Scene]:
    found = Scene(monkeypatch.setattr)
    yield found
    found.end()
    catch_up._caches.clear()
    STATES.clear()


def read_and_store(scene: Scene) -> None:
    """A fill has read, a revoke is committed and applied, then the fill stores."""
    scene.ask(("user:u5", "doc:read", None, 0))  # the State is up, alice is not resident
    with Stop("fill.read") as stop:
        asking = scene.beside(scene.ask)
        stop.wait()
        event = scene.commit(REVOKE)
        assert catch_up.apply_event(event)
    asking.join(WAIT_S)
    scene.ask()
    scene.ask(op=scene.token)


def mark_and_pop(scene: Scene) -> None:
    """What changed is marked and not yet dropped; who asks meanwhile stays at the old revision, or waits."""
    scene.ask()
    event = scene.commit(REVOKE)
    with Stop("apply.marked") as stop:
        scene.beside(lambda: catch_up.apply_event(event))
        stop.wait()
        decision = scene.ask()
        assert decision is None or decision.revision < event.rev
        late = scene.beside(lambda: scene.ask(op=scene.token))
    late.join(WAIT_S)
    scene.ask()
    scene.ask(op=scene.token)


def pop_and_publish(scene: Scene) -> None:
    """It is dropped, and the new State is not out: a fill of the new revision meets the old State, and so does a token."""
    scene.ask()
    scene.ask(OTHER)
    event = scene.commit(REVOKE)
    with Stop("apply.popped") as stop:
        scene.beside(lambda: catch_up.apply_event(event))
        stop.wait()
        # First what memory holds: after a live answer everybody is asked for more.
        scene.ask(OTHER)
        scene.ask(OTHER, op=scene.token)
        scene.ask()
        scene.ask(OTHER, full=True)
    scene.end()
    scene.ask()


def table_and_publish(scene: Scene) -> None:
    """A role loses what it gave, then somebody gets the role: with the older table the newer subject may, which never was so."""
    scene.ask(OTHER)
    for point in ("apply.marked", "apply.popped", "apply.published"):
        scene.commit(EDITORS_EDIT)
        scene.commit(REVOKE)
        scene.ask(full=True)
        scene.commit(EDITORS_READ)
        scene.commit(GRANT)
        with Stop(point) as stop:
            catching = scene.beside(lambda: catch_up.catch_up(NAME))
            stop.wait()
            asking = [scene.beside(scene.ask), scene.beside(lambda: scene.ask(op=scene.token))]
            for thread in asking:
                # Who is stopped at the mark holds the lock of the memory: what needs it goes on when he does.
                thread.join(0.3 if point == "apply.marked" else WAIT_S)
        for thread in (catching, *asking):
            thread.join(WAIT_S)
        scene.ask()


def look_up_and_promote(scene: Scene) -> None:
    """Found in the old half; dropped by a change; then the finder promotes it."""
    scene.ask()
    cache = catch_up.find(NAME)
    assert cache is not None
    cache.subjects._old, cache.subjects.young = cache.subjects.young, {}  # it has grown old
    with Stop("l1.old_hit") as stop:
        asking = scene.beside(scene.ask)
        stop.wait()
        assert catch_up.apply_event(scene.commit(REVOKE))
    asking.join(WAIT_S)
    scene.ask()
    scene.ask(op=scene.token)


def old_state_and_reset(scene: Scene) -> None:
    """A reader has taken the State; the database loses commits, everything starts over; then the reader looks into memory."""
    scene.commit(["bind", "user:u5", "reader", [], [], None, "", None, None, True])
    scene.commit(["bind", "user:u6", "reader", [], [], None, "", None, None, True])
    scene.ask()
    cache = catch_up.find(NAME)
    assert cache is not None
    cache.subjects._old, cache.subjects.young = cache.subjects.young, {}
    state = cache.state
    assert state is not None
    known = state.subjects._old["user:u0"]
    scene.base.lose(NAME, 2)
    scene.commit(EDITORS_READ, REVOKE)
    scene.ask(full=True)  # everything starts over in a new history, and alice is resident in it
    subject = cache.subject(state, "user:u0", scene.clock.wall_us)
    if subject is not None and subject is not known:
        scene.faults.append(f"C1: the State of the history that ended meets a snapshot read at {subject.built_rev} of the next")


def boot_and_token(scene: Scene) -> None:
    """The first State is being read by one thread; a commit; others ask for what that State cannot have."""
    stopped, go = threading.Event(), threading.Event()

    def stop(_where: str) -> None:
        stopped.set()
        assert go.wait(WAIT_S)

    scene.base.meanwhile = stop
    scene.beside(lambda: catch_up.boot(catch_up.cache_of(NAME)))
    assert stopped.wait(WAIT_S)
    scene.commit(REVOKE)
    token = scene.token
    asking = [scene.beside(lambda: scene.ask(op=token)), scene.beside(lambda: scene.ask(OTHER, full=True))]
    for thread in asking:
        thread.join(0.1)  # until they wait for the lock; were they later, the scene would show nothing and harm nothing
    go.set()
    scene.end()
    scene.ask()


def news_and_age(scene: Scene) -> None:
    """Late news of one commit, none of the next: that the first was made does not prove that nothing followed."""
    scene.ask(OTHER)
    first = scene.commit(REVOKE)
    scene.commit(["clear", "user:u1"])
    scene.clock.ns += 400_000_000
    assert catch_up.apply_event(first)
    scene.clock.ns += 300_000_000
    scene.ask(OTHER)


def news_of_another_history(scene: Scene) -> None:
    """Commits are lost on the same epoch; others make the same numbers again; their news fits ours by number alone."""
    scene.ask()
    scene.commit(REVOKE)
    scene.ask(full=True)
    scene.base.lose(NAME, 1)
    scene.commit(["bind", "user:u5", "reader", [], [], None, "", None, None, True])
    event = scene.commit(["bind", "user:u6", "reader", [], [], None, "", None, None, True])
    catch_up.apply_event(event)
    scene.ask(op=scene.token)
    scene.clock.ns += 600_000_000
    scene.ask()


SCENES = [
    boot_and_token,
    news_and_age,
    news_of_another_history,
    read_and_store,
    mark_and_pop,
    pop_and_publish,
    table_and_publish,
    look_up_and_promote,
    old_state_and_reset,
]


@pytest.mark.parametrize("play", SCENES, ids=lambda play: play.__name__)
def test_the_contract_holds_with_a_thread_stopped_between(scene, play):
    play(scene)
    scene.end()
    assert scene.faults == []


@pytest.mark.parametrize(
    ("name", "play"),
    [
        ("stored_unproven", read_and_store),
        ("published_early", mark_and_pop),
        ("torn_table", table_and_publish),
        ("promoted_unlooked", look_up_and_promote),
        ("no_invalidation", mark_and_pop),
        ("event_moves_t", news_and_age),
        ("event_stamp_unchecked", news_of_another_history),
        ("layers_reused", old_state_and_reset),
        ("token_ignored", pop_and_publish),
    ],
)
def test_a_wrong_cache_is_caught_there(scene, monkeypatch, name, play):
    mutants.apply(name, monkeypatch.setattr)
    try:
        play(scene)
    except AssertionError as error:
        scene.faults.append(str(error))
    scene.end()
    assert scene.faults
