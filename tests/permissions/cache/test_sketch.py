"""The sketch holds what is frequent, whatever the order, and never more than it may."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from permissions.cache.sketch import SpaceSaving

offers = st.lists(st.tuples(st.sampled_from("abcdefghijklmnop"), st.integers(1, 9)), max_size=200)


@given(offers, st.integers(1, 8))
def test_what_is_frequent_is_held_and_no_count_is_below_the_truth(stream: list[tuple[str, int]], capacity: int) -> None:
    sketch: SpaceSaving[str] = SpaceSaving(capacity)
    truth: Counter[str] = Counter()
    for item, times in stream:
        sketch.offer(item, times)
        truth[item] += times
    held = dict(sketch.top(capacity))
    error = truth.total() / capacity
    assert len(sketch) <= capacity
    assert {item for item, times in truth.items() if times > error} <= held.keys()
    assert all(truth[item] <= count <= truth[item] + error for item, count in held.items())


@given(offers, st.integers(1, 8), st.integers(1, 50))
def test_what_is_drained_is_never_more_than_was_met(stream: list[tuple[str, int]], capacity: int, every: int) -> None:
    sketch: SpaceSaving[str] = SpaceSaving(capacity)
    truth: Counter[str] = Counter()
    drained: Counter[str] = Counter()
    for place, (item, times) in enumerate(stream):
        sketch.offer(item, times)
        truth[item] += times
        if place % every == 0:
            drained.update(sketch.drain())
        if place % (3 * every) == 0:
            sketch.age()
    drained.update(sketch.drain())
    assert all(drained[item] <= truth[item] for item in drained)
    if len(truth) <= capacity:
        assert drained == truth


def test_what_was_drained_is_drained_once_unless_it_is_given_back() -> None:
    sketch: SpaceSaving[str] = SpaceSaving(4)
    sketch.offer("a", 3)
    sketch.offer("b", 1)
    assert sketch.drain() == {"a": 3, "b": 1}
    assert sketch.drain() == {}
    sketch.give_back({"a": 3, "b": 1})
    sketch.offer("a", 2)
    assert sketch.drain() == {"a": 5, "b": 1}


def test_what_is_given_back_after_it_was_pushed_out_is_not_lost() -> None:
    sketch: SpaceSaving[str] = SpaceSaving(1)
    sketch.offer("a", 3)
    drained = sketch.drain()
    sketch.offer("b", 1)
    sketch.give_back(drained)
    assert sketch.drain() == {"a": 3}


def test_what_is_hot_now_overtakes_what_was() -> None:
    sketch: SpaceSaving[str] = SpaceSaving(2)
    sketch.offer("yesterday", 1_000)
    sketch.drain()
    for _ in range(12):
        sketch.age()
        sketch.offer("today", 5)
    assert [item for item, _ in sketch.top(2)] == ["today", "yesterday"]


def test_lists_of_roles_are_kept_as_well_as_ids() -> None:
    sketch: SpaceSaving[tuple[str, ...]] = SpaceSaving(2)
    for roles in (("a",), ("a", "b"), ("a", "b"), ("c",)):
        sketch.offer(roles, 1)
    assert sketch.top(1) == [(("a", "b"), 2)]


@pytest.mark.parametrize("capacity", [0, -1, True, 1.5, None, "4"])
def test_a_capacity_that_cannot_be_is_refused(capacity: Any) -> None:
    with pytest.raises(ValueError, match="capacity is "):
        SpaceSaving(capacity)
