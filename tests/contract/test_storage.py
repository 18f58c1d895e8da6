"""The contract of the storage port: on every adapter, every operation answers what its law says, to the microsecond."""

from __future__ import annotations

import itertools
import time
from collections.abc import Container, Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.crc import key_slot

from resilience.operations import OPERATIONS
from tests.contract.sequences import START_US, Mechanism, Model, Past, Step, mechanisms
from tests.contract.stores import MemoryAdapter, keys_of

MECHANISMS = mechanisms()
_examples = itertools.count()
# Each example has tags of its own, so it needs no fresh store.
on_one_store = settings(max_examples=30, suppress_health_check=[*HealthCheck])
SLACK_MS = 5  # the clocks of two processes, both read in whole milliseconds
EXTRA_MS = 3_600_000  # what scripts add to a time to live under a test's clock


@pytest.fixture(params=sorted(MECHANISMS))
def mechanism(request: pytest.FixtureRequest) -> Mechanism:
    return MECHANISMS[request.param]


def replay(
    adapter: MemoryAdapter, steps: Sequence[Step], *, forgetting: int = 0, deleting: bool = False, unequal: Container[str] = ()
) -> None:
    """Runs the steps on the store and on the laws and compares each reply.

    `forgetting`: scripts are flushed before every so manieth call. `deleting`: keys whose time is over go, in the store alone;
    what `unequal` operations then answer is not compared.
    """
    example = next(_examples)
    started = time.monotonic()
    model = Model()
    history: list[Past] = []
    now = START_US
    for number, step in enumerate(steps):
        now = max(1, now + step.after_us)
        tag = f"{step.tag}{example}"
        args = step.args_after([past for past in history if past.tag == tag])
        if deleting:
            adapter.delete([adapter.key(key) for key in model.over(now)])
        if forgetting and number % forgetting == 0:
            adapter.forget_scripts()
        told = adapter.run(step.op, tag, args, now)
        due = model.run(step.op, tag, args, now)
        is_equal = _typed(told) == _typed(due)
        assert is_equal or step.op in unequal, f"{told} != {due}: {step.op}{args} at {now - START_US:+} us, after {history}"
        history.append(Past(step.op, tag, args, now, due))
    if not deleting:
        _assert_times_to_live(adapter, model, history, started)


def _typed(reply: Sequence[object]) -> list[tuple[str, object]]:
    """1 and '1' and True are different answers."""
    return [(type(part).__name__, part) for part in reply]


def _assert_times_to_live(adapter: MemoryAdapter, model: Model, history: Sequence[Past], started: float) -> None:
    """The server's own clock runs while a test's stands still: since a key was written it has lost that much and no more."""
    keys = sorted({key for past in history for key in keys_of(past.op, past.tag, past.args)})
    left = adapter.ttls_ms({adapter.key(key): model.written_at.get(key, 0) for key in keys})
    ran_ms = (time.monotonic() - started) * 1000 + SLACK_MS
    for key in keys:
        ms = left[adapter.key(key)]
        assert (ms is None) == (key not in model.values), f"{key}: {ms} ms left, the law holds {model.values.get(key)!r}"
        if ms is not None:
            due = -(-max(0, model.ttl_us[key]) // 1000) + 1 + EXTRA_MS
            assert due - ran_ms <= ms <= due + 1, f"{key} lives {ms} ms, and the law says {due}"


class TestStorage:
    """Run on every adapter: a fallback is not a second behaviour."""

    def test_it_answers_what_the_law_says_also_when_the_clock_is_set_back(
        self, adapter: MemoryAdapter, mechanism: Mechanism
    ) -> None:
        @on_one_store
        @given(mechanism.sequences(max_size=25, back=True))
        def check(steps: list[Step]) -> None:
            replay(adapter, steps)

        check()

    def test_deleting_keys_whose_time_is_over_changes_no_answer(self, adapter: MemoryAdapter, mechanism: Mechanism) -> None:
        @on_one_store
        @given(mechanism.sequences(max_size=15, back=False))
        def check(steps: list[Step]) -> None:
            replay(adapter, steps, deleting=True, unequal=mechanism.tells_presence)

        check()

    def test_a_server_that_forgets_its_scripts_answers_the_same(self, adapter: MemoryAdapter, mechanism: Mechanism) -> None:
        @settings(on_one_store, max_examples=8)
        @given(mechanism.sequences(max_size=8, back=True), st.integers(1, 3))
        def check(steps: list[Step], often: int) -> None:
            replay(adapter, steps, forgetting=often)

        check()

    def test_a_pipeline_answers_each_call_as_if_it_were_alone(self, adapter: MemoryAdapter, mechanism: Mechanism) -> None:
        """Tags of their own, since the calls of a pipeline have no order between nodes; half-way the scripts are gone."""

        @settings(on_one_store, max_examples=8)
        @given(mechanism.sequences(max_size=12, back=False))
        def check(steps: list[Step]) -> None:
            example = next(_examples)
            calls = [(step.op, f"{number}p{example}", step.args_after([])) for number, step in enumerate(steps)]
            due = [Model().run(op, tag, args, START_US) for op, tag, args in calls]
            half = len(calls) // 2
            told = adapter.run_many(calls[:half], START_US)
            adapter.forget_scripts()
            told += adapter.run_many(calls[half:], START_US)
            assert [_typed(reply) for reply in told] == [_typed(reply) for reply in due]

        check()

    def test_a_clock_set_back_admits_no_more(self, adapter: MemoryAdapter, mechanism: Mechanism) -> None:
        """Who was refused at a time is refused at every earlier one."""
        if not mechanism.admits:
            return  # nothing here admits or refuses

        calls = st.one_of([st.tuples(st.just(op), mechanism.args[op]) for op in mechanism.admits])

        @on_one_store
        @given(calls, st.integers(0, 7_200_000_000))
        def check(call: tuple[str, tuple[int | str, ...]], back_us: int) -> None:
            op, raw = call
            tag = f"c{next(_examples)}"
            args = Step(op, tag, raw, 0).args_after([])
            for _ in range(60):
                if not mechanism.admits[op](adapter.run(op, tag, args, START_US)):
                    break
            else:
                return  # such a call is admitted without end
            assert not mechanism.admits[op](adapter.run(op, tag, args, START_US - back_us))

        check()


def test_every_operation_has_vectors() -> None:
    with_vectors = {op for mechanism in MECHANISMS.values() for op in mechanism.args}
    assert with_vectors == set(OPERATIONS)


def test_all_keys_of_a_call_lie_in_one_slot(mechanism: Mechanism) -> None:
    """In a cluster a script may touch one slot only, and the slot is that of the tag."""

    @settings(max_examples=30)
    @given(mechanism.sequences(max_size=5, back=False), st.text("abc:.-#", min_size=1, max_size=20))
    def check(steps: list[Step], tag: str) -> None:
        for step in steps:
            keys = OPERATIONS[step.op].keys("some:prefix:", tag, step.args_after([]))
            assert len(set(keys)) == len(keys) >= 1
            assert {key_slot(key.encode()) for key in keys} == {key_slot(tag.encode())}

    check()
