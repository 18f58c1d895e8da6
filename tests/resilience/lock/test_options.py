"""What a lock may be told, and how it answers nonsense."""

from __future__ import annotations

import math
from typing import Any

import pytest

from resilience.clock import FakeClock
from resilience.lock import LockFactory
from resilience.storage.memory import MemoryStore

BAD: list[tuple[dict[str, Any], str]] = [
    ({"ttl_s": 0}, "ttl_s"),
    ({"ttl_s": -1}, "ttl_s"),
    ({"ttl_s": math.nan}, "ttl_s"),
    ({"ttl_s": math.inf}, "ttl_s"),
    ({"ttl_s": 10**400}, "ttl_s"),
    ({"ttl_s": "10"}, "ttl_s"),
    ({"ttl_s": True}, "ttl_s"),
    ({"ttl_s": None}, "ttl_s"),
    ({"renew": 1}, "renew"),
    ({"renew": "yes"}, "renew"),
    ({"on_store_down": "allow"}, "on_store_down"),
    ({"on_store_down": None}, "on_store_down"),
    ({"wait_s": -0.1}, "wait_s"),
    ({"wait_s": math.inf}, "wait_s"),
    ({"on_lost": "call me"}, "on_lost"),
]


@pytest.fixture
def one() -> LockFactory:
    return LockFactory(MemoryStore(), FakeClock())


@pytest.mark.parametrize(("options", "named"), BAD, ids=str)
def test_an_option_that_makes_no_sense_is_refused_by_name(one: LockFactory, options: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        one.create("job", **options)
    with pytest.raises(ValueError, match=named):
        one.create_async("job", **options)


@pytest.mark.parametrize("name", ["", "a b", "{tag}", "a:b", "ä", "x" * 101, 7, None, b"job"])
def test_a_name_that_could_not_stand_in_a_key_is_refused(one: LockFactory, name: Any) -> None:
    for use in (one.create, one.create_async, one.inspect, one.break_lock):
        with pytest.raises(ValueError, match="name"):
            use(name)


def test_a_coroutine_cannot_be_told_by_a_lock_of_threads(one: LockFactory) -> None:
    async def tell() -> None: ...

    with pytest.raises(ValueError, match="on_lost"):
        one.create("job", on_lost=tell)


@pytest.mark.parametrize("wait_s", [-1, math.nan, math.inf, "1", True])
def test_a_wait_that_makes_no_sense_is_refused_before_anything_is_taken(one: LockFactory, wait_s: Any) -> None:
    lock = one.create("job")
    with pytest.raises(ValueError, match="wait_s"):
        lock.acquire(wait_s)
    assert not one.inspect("job").held


def test_options_are_changed_live_for_the_next_acquire(one: LockFactory) -> None:
    lock = one.create("job")
    assert dict(lock.options) == {"ttl_s": 10.0, "renew": True, "on_store_down": "raise", "wait_s": 0.0}
    with lock:
        lock.configure(ttl_s=20, wait_s=1)
        assert lock.expires_in_s == pytest.approx(9.9)
    with lock:
        assert lock.expires_in_s == pytest.approx(19.8)


@pytest.mark.parametrize(("change", "named"), [({"ttl_s": 0}, "ttl_s"), ({"colour": 1}, "colour"), ({"renew": None}, "renew")])
def test_a_wrong_change_changes_nothing(one: LockFactory, change: dict[str, Any], named: str) -> None:
    lock = one.create("job")
    before = dict(lock.options)
    with pytest.raises(ValueError, match=named):
        lock.configure(wait_s=3, **change)
    assert dict(lock.options) == before
    with pytest.raises(TypeError):
        lock.options["ttl_s"] = 1  # type: ignore[index]


def test_before_the_first_acquire_it_is_nothing(one: LockFactory) -> None:
    lock = one.create("job")
    assert (lock.held, lock.lost, lock.token, lock.fence, lock.expires_in_s) == (False, False, None, None, 0.0)
