"""What a bulkhead may be told, and how it answers nonsense."""

from __future__ import annotations

import math
from typing import Any

import pytest

from resilience.bulkhead import Bulkhead
from resilience.clock import FakeClock
from resilience.storage.memory import MemoryStore

BAD: list[tuple[dict[str, Any], str]] = [
    *[({"max_concurrent": value}, "max_concurrent") for value in (0, -1, True, 1.0, "3", None, 10**9, math.nan)],
    *[({"lease_s": value}, "lease_s") for value in (0, -1, True, "30", None, math.nan, math.inf, 10**400, 1e9)],
    *[({"max_wait_s": value}, "max_wait_s") for value in (-0.1, True, "0", None, math.nan, math.inf)],
]


def made(**options: Any) -> Bulkhead:
    return Bulkhead("b", **{"max_concurrent": 2, "store": MemoryStore(), "clock": FakeClock(), **options})


@pytest.mark.parametrize(("options", "named"), BAD, ids=str)
def test_an_option_that_makes_no_sense_is_refused_by_name(options: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=f"^{named} "):
        made(**options)
    bulkhead = made()
    before = dict(bulkhead.options)
    with pytest.raises(ValueError, match=f"^{named} "):
        bulkhead.configure(**options)
    assert dict(bulkhead.options) == before


@pytest.mark.parametrize("name", ["", "a b", "{tag}", "a:b", "ä", "x" * 101, 7, None, b"b", True])
def test_a_name_that_could_not_stand_in_a_key_is_refused(name: Any) -> None:
    with pytest.raises(ValueError, match="name"):
        Bulkhead(name, 1, store=MemoryStore())


@pytest.mark.parametrize("wait_s", [-1, math.nan, math.inf, "1", True])
def test_a_wait_that_makes_no_sense_takes_nothing(wait_s: Any) -> None:
    bulkhead = made()
    with pytest.raises(ValueError, match=r"^wait_s "):
        bulkhead.acquire(wait_s)
    with pytest.raises(ValueError, match=r"^for_s "):
        bulkhead.drain(wait_s)
    assert bulkhead.in_flight == 0


def test_an_unknown_option_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"colour.*max_concurrent, lease_s, max_wait_s"):
        made().configure(colour="red")


def test_options_are_read_only_and_change_as_a_whole() -> None:
    bulkhead = made()
    assert dict(bulkhead.options) == {"max_concurrent": 2, "lease_s": 30.0, "max_wait_s": 0.0}
    with pytest.raises(ValueError, match="lease_s"):
        bulkhead.configure(max_concurrent=9, lease_s=0)
    assert bulkhead.limit == 2
    with pytest.raises(TypeError):
        bulkhead.options["lease_s"] = 1  # type: ignore[index]


def test_an_empty_store_is_used_although_it_is_empty() -> None:
    """`store or default` takes another: a store that holds nothing yet may be false."""
    store = MemoryStore()
    assert not len(store)
    permit = made(store=store).acquire()
    assert len(store) == 1
    assert permit.release()
