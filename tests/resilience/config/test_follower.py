"""The follower: what it applies, what it refuses, and how it goes on when a source is lost."""

from __future__ import annotations

import json
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from resilience import telemetry
from resilience.clock import FakeClock
from resilience.config import Live, Snapshot
from resilience.config_follower import Follower
from resilience.config_sources import FileSource, MemorySource, RedisSource, RowsSource, follower
from resilience.errors import ConfigConflict, ConfigError, ConfigInvalid, StorageUnavailable
from resilience.storage.memory import MemoryStore

KEYS = (b"k" * 32,)


def snapshot(version: int, limit: int = 5, *, epoch: int = 1) -> Snapshot:
    return Snapshot(epoch, version, {"limiters": {"login": {"limit": limit}}})


class Lost:
    """A source that cannot be reached until `down` is False."""

    def __init__(self, inner: Any, name: str) -> None:
        self.inner, self.name, self.down, self.reads, self.puts = inner, name, False, 0, 0

    def read(self) -> Snapshot | None:
        self.reads += 1
        if self.down:
            raise StorageUnavailable("read", "refused")
        return self.inner.read()

    def put(self, snapshot: Snapshot, *, force: bool = False) -> bool:
        if self.down:
            raise StorageUnavailable("put", "refused")
        self.puts += 1
        return self.inner.put(snapshot, force=force)


class World:
    def __init__(self, *, rows: bool = True, file: Path | None = None) -> None:
        self.clock = FakeClock()
        self.live = Live()
        self.store = MemoryStore(clock=self.clock)
        self.redis = Lost(RedisSource(self.store, KEYS), "redis")
        self.rows = Lost(MemorySource(), "rows")
        self.file = None if file is None else FileSource(file, KEYS)
        self.follower = Follower(
            projection=self.redis, truth=self.rows if rows else None, kept=self.file, live=self.live, clock=self.clock
        )

    @property
    def limit(self) -> int | None:
        return self.live.current().section("limiters").get("login", {}).get("limit")

    def rounds(self, seconds: float) -> None:
        for _ in range(round(seconds / 2)):
            self.clock.advance(2)
            self.follower.poll()


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def events() -> Iterator[list[telemetry.Event]]:
    heard: list[telemetry.Event] = []
    out = telemetry.subscribe(heard.append, "config.")
    yield heard
    out()


def test_without_anything_the_defaults_hold(world: World) -> None:
    world.follower.begin()
    assert world.live.current().key == (0, 0)
    assert world.limit is None


@pytest.mark.parametrize(("redis", "rows", "file", "wins"), [(3, 2, 1, 3), (1, 3, 2, 3), (1, 2, 3, 3), (None, None, 4, 4)])
def test_a_cold_start_takes_the_newest(tmp_path: Path, redis: int | None, rows: int | None, file: int | None, wins: int) -> None:
    world = World(file=tmp_path / "config.json")
    for source, version in ((world.redis, redis), (world.rows, rows), (world.file, file)):
        if version is not None and source is not None:
            source.put(snapshot(version, limit=version))
    world.follower.begin()
    assert (world.live.current().version, world.limit) == (wins, wins)


def test_a_cold_start_passes_over_a_newest_that_is_wrong(tmp_path: Path, events: list[telemetry.Event]) -> None:
    world = World(file=tmp_path / "config.json")
    world.redis.put(snapshot(9, limit=0))
    assert world.file is not None
    world.file.put(snapshot(4, limit=4))
    world.follower.begin()
    assert world.limit == 4
    assert [event.name for event in events] == ["config.rejected", "config.applied"]


def test_an_older_version_and_the_same_one_change_nothing(world: World) -> None:
    world.redis.put(snapshot(3, limit=3))
    world.follower.poll()
    for version in (2, 3):
        assert world.live.consider(snapshot(version, limit=99), "test") is False
    assert world.limit == 3


def test_a_bad_snapshot_leaves_the_old_one_and_the_next_good_one_is_taken(world: World, events: list[telemetry.Event]) -> None:
    world.redis.put(snapshot(1, limit=1))
    world.follower.poll()
    world.redis.put(snapshot(2, limit=-5))
    world.follower.poll()
    world.follower.poll()
    assert (world.limit, world.live.current().version) == (1, 1)
    assert "limiters.login.limit: must be 1 to 90000000, not -5" in world.follower.problem
    rejected = [event.attributes for event in events if event.name == "config.rejected"]
    assert len(rejected) == 1, "said once, not at every poll"
    assert rejected[0]["path"] == "limiters.login.limit"
    assert rejected[0]["version"] == 2
    world.redis.put(snapshot(3, limit=7))
    world.follower.poll()
    assert (world.limit, world.follower.problem) == (7, "")


def test_a_check_of_this_process_refuses_the_whole_snapshot(world: World) -> None:
    def cannot(snapshot: Snapshot) -> None:
        if "billing" in snapshot.section("breakers"):
            raise ValueError("billing: window_s must be longer than flush_s")

    out = world.live.add_check(cannot)
    world.redis.put(Snapshot(1, 1, {"breakers": {"billing": {"window_s": 1}}, "limiters": {"login": {"limit": 4}}}))
    world.follower.poll()
    assert world.limit is None
    assert "window_s must be longer" in world.follower.problem
    out()
    world.follower.poll()
    assert world.limit == 4


def test_one_failing_listener_hinders_nobody(world: World) -> None:
    seen: list[int] = []

    def fails(snapshot: Snapshot) -> None:
        raise RuntimeError("broken")

    world.live.subscribe_applied(fails)
    world.live.subscribe_applied(lambda snapshot: seen.append(snapshot.version))
    world.redis.put(snapshot(1))
    world.follower.poll()
    assert seen == [1]


def test_the_applied_snapshot_cannot_be_changed(world: World) -> None:
    world.redis.put(snapshot(1))
    world.follower.poll()
    with pytest.raises(TypeError):
        world.live.current().sections["limiters"]["login"]["limit"] = 9
    with pytest.raises(TypeError):
        world.live.current().sections["limiters"] = {}  # type: ignore[index]


def test_without_redis_the_rows_are_asked_every_five_seconds(world: World) -> None:
    world.rows.put(snapshot(1, limit=1))
    world.redis.down = True
    world.follower.poll()
    assert world.limit == 1
    world.rows.put(snapshot(2, limit=2))
    before = world.rows.reads
    world.rounds(4)
    assert world.rows.reads == before, "not before five seconds are over"
    world.rounds(2)
    assert world.limit == 2


def test_a_store_of_this_process_alone_keeps_nobody_from_the_rows(world: World) -> None:
    """Where there is no Redis at all, the projection is our own memory: it agrees with us, whatever others have written."""
    follower = Follower(projection=RedisSource(world.store, KEYS), truth=world.rows, live=world.live, clock=world.clock)
    world.rows.put(snapshot(1, limit=1))
    follower.poll()
    world.rows.put(snapshot(2, limit=2))
    world.clock.advance(1)
    follower.poll()
    assert world.limit == 2


def test_an_empty_redis_is_written_again_at_the_next_poll(world: World) -> None:
    world.rows.put(snapshot(4, limit=4))
    world.follower.begin()
    world.follower.poll()
    assert world.redis.inner.read().version == 4
    world.store.close()
    world.rounds(2)
    assert RedisSource(world.store, KEYS).read() == snapshot(4, limit=4)


def test_a_redis_that_missed_a_change_while_away_is_brought_up(world: World) -> None:
    world.rows.put(snapshot(1))
    world.rounds(2)
    world.redis.down = True
    world.rows.put(snapshot(2, limit=2))
    world.rounds(6)
    world.redis.down = False
    world.rounds(32)
    assert RedisSource(world.store, KEYS).read() == snapshot(2, limit=2)


def test_garbage_in_redis_is_refused_and_replaced_from_the_rows(world: World, events: list[telemetry.Event]) -> None:
    world.rows.put(snapshot(1, limit=1))
    world.rounds(2)
    forged = Snapshot(1, 99, {"limiters": {"login": {"limit": 1_000_000}}})
    RedisSource(world.store, (b"somebody else's key, long enough",)).put(forged)
    world.rounds(2)
    assert world.limit == 1
    assert RedisSource(world.store, KEYS).read() == snapshot(1, limit=1)
    assert [event.attributes["problem"] for event in events if event.name == "config.rejected"] == [
        "is sealed with another key, or was altered"
    ]


def test_a_version_that_this_code_does_not_understand_is_not_overwritten(world: World) -> None:
    world.rows.put(snapshot(1))
    world.rounds(2)
    newer = Snapshot(1, 2, {"limiters": {"login": {"of_a_later_release": 1}}})
    world.redis.put(newer)
    world.rounds(10)
    assert RedisSource(world.store, KEYS).read() == newer


def test_an_old_key_still_verifies(world: World) -> None:
    RedisSource(world.store, KEYS).put(snapshot(2, limit=2))
    assert RedisSource(world.store, (b"n" * 32, *KEYS)).read() == snapshot(2, limit=2)


def test_a_new_epoch_is_believed_from_the_rows_alone(world: World) -> None:
    world.rows.put(snapshot(5, limit=5, epoch=1))
    world.follower.begin()
    world.redis.put(snapshot(50, limit=50, epoch=2))
    world.rounds(4)
    assert world.limit == 5, "an epoch that the rows do not know"
    world.rows.put(snapshot(51, limit=51, epoch=3))
    world.rounds(2)
    assert (world.limit, world.live.current().epoch) == (51, 3)
    assert RedisSource(world.store, KEYS).read() == snapshot(51, limit=51, epoch=3)


def test_after_a_restore_an_old_redis_and_an_old_file_do_not_undo_it(tmp_path: Path) -> None:
    world = World(file=tmp_path / "config.json")
    assert world.file is not None
    world.file.put(snapshot(80, limit=80, epoch=9))
    world.redis.put(snapshot(90, limit=90, epoch=9))
    world.rows.put(snapshot(6, limit=6, epoch=7))
    world.follower.begin()
    assert world.limit == 6


def test_a_process_without_rows_follows_the_epoch_of_redis() -> None:
    world = World(rows=False)
    world.redis.put(snapshot(5, limit=5, epoch=1))
    world.follower.poll()
    world.redis.put(snapshot(1, limit=1, epoch=2))
    world.follower.poll()
    assert world.limit == 1


def test_rows_that_fail_in_any_way_keep_what_there_is(world: World) -> None:
    world.redis.put(snapshot(1, limit=1))
    world.follower.truth = RowsSource(lambda: 1 // 0)  # type: ignore[arg-type, return-value]
    world.follower.begin()
    world.follower.poll()
    assert world.limit == 1


def test_the_file_is_private_whole_and_never_goes_back(tmp_path: Path) -> None:
    path = tmp_path / "below" / "config.json"
    world = World(file=path)
    world.redis.put(snapshot(3, limit=3))
    world.follower.poll()
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert os.listdir(path.parent) == ["config.json"], "nothing half-written stays"
    source = FileSource(path, KEYS)
    assert source.put(snapshot(2)) is False
    assert source.read() == snapshot(3, limit=3)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"epoch": 1}', b"\xff\xfe", b'{"epoch": 1, "version": 2, "json": "{}", "hmac": "0"}']
)
def test_a_damaged_file_is_refused_and_the_start_goes_on(tmp_path: Path, body: bytes) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(body)
    world = World(file=path)
    world.redis.put(snapshot(2, limit=2))
    world.follower.begin()
    assert world.limit == 2
    assert json.loads(path.read_bytes())["version"] == 2, "the next good version replaces it"


def test_a_file_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file where a folder should be")
    world = World(file=tmp_path / "taken" / "config.json")
    world.redis.put(snapshot(1, limit=1))
    world.follower.poll()
    assert world.limit == 1


def test_an_altered_file_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    FileSource(path, KEYS).put(snapshot(1))
    document = json.loads(path.read_bytes())
    document["json"] = document["json"].replace("5", "500")
    path.write_text(json.dumps(document))
    with pytest.raises(ConfigInvalid, match="sealed with another key, or was altered"):
        FileSource(path, KEYS).read()


def test_a_change_without_rows_goes_to_all_who_share_the_store() -> None:
    one, other = World(rows=False), World(rows=False)
    other.follower.projection = one.redis
    changed = one.follower.change("limiters", {"login": {"limit": 8}})
    assert changed.version == 1
    other.follower.poll()
    assert other.limit == 8
    with pytest.raises(ConfigInvalid, match=r"limiters\.login\.limit"):
        one.follower.change("limiters", {"login": {"limit": 0}})
    assert one.limit == 8


def test_two_changes_at_once_are_a_conflict() -> None:
    world = World(rows=False)
    world.redis.put(snapshot(1))
    inner = world.redis.inner
    read = inner.read

    def overtaken() -> Snapshot | None:
        found = read()
        inner.put(snapshot(2, limit=2))
        return found

    world.redis.inner.read = overtaken
    with pytest.raises(ConfigConflict) as caught:
        world.follower.change("limiters", {"login": {"limit": 8}})
    assert (caught.value.expected, caught.value.actual) == (1, 2)


def test_where_rows_are_the_truth_nothing_else_is_changed(world: World) -> None:
    with pytest.raises(ConfigError, match="the rows are the truth"):
        world.follower.change("limiters", {})


def test_every_process_that_lives_is_seen_with_its_version_and_the_dead_go() -> None:
    clock = FakeClock()
    store = MemoryStore(clock=clock)
    followers = [follower(store, KEYS, live=Live(), clock=clock) for _ in range(2)]
    followers[0].change("limiters", {"login": {"limit": 8}})
    for one in followers:
        one.poll()
    seen = followers[0].processes()
    assert [process.version for process in seen] == [1, 1]
    assert {process.pid for process in seen} == {os.getpid()}
    clock.advance(6)
    followers[1].poll()
    clock.advance(2)
    assert len(followers[1].processes()) == 1


def test_a_message_that_is_old_wakes_nobody_one_that_is_garbage_does(world: World) -> None:
    world.redis.put(snapshot(5))
    world.follower.poll()
    woken = world.follower._woken
    for old in (b"1 5", b"1 4", b"0 9"):
        world.follower.heard(old)
        assert not woken.is_set()
    for newer in (b"1 6", b"garbage", b"\xff", b"", b"1 2 3"):
        world.follower.heard(newer)
        assert woken.is_set()
        woken.clear()


class BrokenBoard:
    """A fault of our own, in every round."""

    def report(self, snapshot: Snapshot, source: str, problem: str) -> None:
        raise RuntimeError("broken")

    def processes(self) -> list[Any]:
        return []


def test_a_fault_of_its_own_does_not_end_the_listening() -> None:
    store, live, applied = MemoryStore(), Live(), threading.Event()
    source = RedisSource(store, KEYS)
    live.subscribe_applied(lambda snapshot: applied.set())
    one = Follower(projection=source, board=BrokenBoard(), subscribe=source.subscribe, live=live, poll_s=60.0)
    one.start()
    try:
        for version in (1, 2, 3):
            source.put(snapshot(version, limit=version))
            assert applied.wait(timeout=30)
            applied.clear()
            assert live.current().version == version
    finally:
        one.stop()


def test_a_stopped_follower_has_no_thread_and_may_start_again() -> None:
    store, live = MemoryStore(), Live()
    one = follower(store, KEYS, live=live)
    for version in (1, 2):
        RedisSource(store, KEYS).put(snapshot(version))
        one.start()
        assert live.current().version == version
        one.stop()
        assert "resilience-config" not in {thread.name for thread in threading.enumerate()}


def test_short_keys_are_refused() -> None:
    for keys in ((), (b"short",), (b"k" * 32, b"")):
        with pytest.raises(ValueError, match="at least one key of 16 bytes"):
            FileSource("anywhere", keys)
