"""The lease's row: who gets it, who keeps it, and who may write."""

from __future__ import annotations

import pytest
from django.db import transaction

from controlplane.loop import lease
from controlplane.loop.lease import LostLease
from controlplane.models import LoopLease
from tests.controlplane.loop.rows import database_now_us, run_out, seen, taken

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]


def test_before_anybody_led_nobody_leads():
    assert lease.peek() is None


def test_whoever_comes_first_gets_it_and_the_row_says_so():
    term = taken("host.example:12:abcd")
    row = seen()
    assert row.is_led
    assert (row.holder, row.fence, row.leader) == ("host.example:12:abcd", term.fence, "abcd")
    assert 0 <= row.led_for_s < 60
    assert 0 < row.until_us - row.since_us <= lease.LEASE_S * 1_000_000 + 1_000_000


def test_nobody_gets_it_while_it_holds():
    taken("a")
    assert lease.take("b") is None
    assert seen().holder == "a"


def test_one_that_has_run_out_is_taken_under_a_higher_fence():
    first = taken("a")
    run_out()
    assert not seen().is_led
    assert taken("b").fence == first.fence + 1


def test_its_own_holder_may_take_it_anew():
    first = taken("a")
    assert taken("a").fence == first.fence + 1


def test_one_that_was_given_back_is_free_at_once():
    lease.release(taken("a"))
    assert not seen().is_led
    assert taken("b").holder == "b"


def test_it_is_not_given_back_for_another():
    first = taken("a")
    run_out()
    taken("b")
    lease.release(first)
    assert seen().holder == "b" and seen().is_led


def test_renewed_it_holds_longer_under_the_same_fence():
    term = taken()
    LoopLease.objects.update(until_us=database_now_us() + 5_000_000)
    before = seen().until_us
    assert lease.renew(term)
    assert seen().until_us > before and seen().fence == term.fence


@pytest.mark.parametrize("taken_over", [True, False])
def test_one_that_has_run_out_is_not_renewed(taken_over):
    term = taken("a")
    run_out()
    if taken_over:
        taken("b")
    until = seen().until_us
    assert not lease.renew(term)
    assert seen().until_us == until


def test_a_clock_that_was_set_back_does_not_leave_the_site_without_a_leader():
    taken("a")
    LoopLease.objects.update(until_us=database_now_us() + 3_600_000_000)
    assert not seen().is_led
    assert taken("b").holder == "b"


def test_what_is_done_under_the_lease_moves_the_cursor_with_it():
    term = taken()
    with lease.acting(term, "sweep") as act:
        assert act.cursor is None and abs(act.now_us - database_now_us()) < 60_000_000
        act.cursor = {"at": 7}
    assert term.cursors == {"sweep": {"at": 7}}
    run_out()
    assert taken("b").cursors == {"sweep": {"at": 7}}


def test_each_task_moves_its_own_cursor():
    term = taken()
    for task in ("one", "two"):
        with lease.acting(term, task) as act:
            act.cursor = task
    assert LoopLease.objects.get().cursors == {"one": "one", "two": "two"}


def test_what_fails_moves_nothing_and_tells_nothing():
    term, told = taken(), []
    with pytest.raises(RuntimeError), lease.acting(term, "sweep") as act:
        act.cursor = 7
        act.told(lambda: told.append("news"))
        raise RuntimeError
    assert LoopLease.objects.get().cursors == {} and term.cursors == {} and told == []


def test_news_leave_after_the_last_write():
    term, seen = taken(), []
    with lease.acting(term, "sweep") as act:
        act.told(lambda: seen.append(LoopLease.objects.get().cursors))
        act.cursor = 1
        assert seen == []
    assert seen == [{"sweep": 1}]


@pytest.mark.parametrize("taken_over", [True, False])
def test_without_the_lease_nothing_is_done(taken_over):
    term = taken("a")
    run_out()
    if taken_over:
        taken("b")
    with pytest.raises(LostLease, match="a held the lease under fence"), lease.acting(term, "sweep"):
        raise AssertionError("it acted")


def test_the_same_number_in_another_hand_is_another_lease():
    """A database that lost its last commits hands a number out again."""
    term = taken("a")
    LoopLease.objects.update(holder="b")
    with pytest.raises(LostLease), lease.acting(term, "sweep"):
        raise AssertionError("it acted")
    assert not lease.renew(term)


@pytest.mark.parametrize("holder", ["", "a" * 300, "主机:1:x", "'; DROP TABLE x; --", "%s:{now}"])
def test_any_name_of_a_host_is_kept_as_it_is(holder):
    if holder:
        taken(holder)
        assert seen().holder == holder


def test_two_processes_of_one_host_have_two_names():
    assert lease.new_holder() != lease.new_holder()
    assert len(lease.new_holder()) <= 300


@pytest.mark.django_db(transaction=True)
def test_it_is_taken_in_a_transaction_of_its_own():
    """In a caller's it would hold until the caller's end, and nobody else would see it."""
    with transaction.atomic(), pytest.raises(RuntimeError, match="durable"):
        lease.take("a")
