"""W3C Trace Context: what is believed, what is made here, and where it goes along."""

from __future__ import annotations

import contextvars

import pytest

from resilience import trace

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"


@pytest.fixture(autouse=True)
def _alone():
    trace.clear()
    yield
    trace.clear()
    trace.set_source(None)


def test_a_valid_header_is_read():
    assert trace.parse(f"00-{TRACE}-{SPAN}-01") == (TRACE, SPAN, True)
    assert trace.parse(f"00-{TRACE}-{SPAN}-00") == (TRACE, SPAN, False)
    assert trace.parse(f"00-{TRACE}-{SPAN}-fe") == (TRACE, SPAN, False)


def test_a_later_version_may_say_more():
    assert trace.parse(f"cc-{TRACE}-{SPAN}-01-what-comes-later") == (TRACE, SPAN, True)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "00",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-01 ",
        f"00-{TRACE}-{SPAN}-01\n",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE[:-1]}g-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{'４' * 32}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01 */ DROP TABLE x; --",
        f"cc-{TRACE}-{SPAN}-01-{'x' * 4000}",
    ],
)
def test_what_is_no_traceparent_begins_a_trace_of_our_own(header):
    assert trace.parse(header) is None
    begun = trace.begin(header)
    assert begun.trace_id != TRACE and len(begun.trace_id) == 32 and len(begun.span_id) == 16 and not begun.is_sampled
    assert begun.request_id == begun.trace_id


def test_a_trace_that_came_in_is_gone_on_with_under_a_span_of_our_own():
    begun = trace.begin(f"00-{TRACE}-{SPAN}-01", "r-1")
    assert (begun.trace_id, begun.request_id, begun.is_sampled) == (TRACE, "r-1", True)
    assert begun.span_id != SPAN
    assert trace.traceparent() == f"00-{TRACE}-{begun.span_id}-01"
    assert trace.parse(trace.traceparent()) == (TRACE, begun.span_id, True)


def test_two_requests_of_one_trace_have_ids_of_their_own_that_name_it():
    first, second = trace.begin(f"00-{TRACE}-{SPAN}-01"), trace.begin(f"00-{TRACE}-{SPAN}-01")
    assert first.request_id != second.request_id
    assert first.request_id.startswith(TRACE) and second.request_id.startswith(TRACE)


def test_who_asks_is_known_later_and_told_with_the_ids():
    assert trace.fields() == {}
    trace.note(realm="default")
    assert trace.fields() == {}
    begun = trace.begin("", "r-1")
    assert trace.fields() == {"request_id": "r-1", "trace_id": begun.trace_id, "span_id": begun.span_id}
    trace.note(actor="user:alice")
    trace.note(realm="default")
    assert trace.fields()["actor"] == "user:alice" and trace.fields()["realm"] == "default"


def test_another_context_sees_nothing_of_it():
    trace.begin("", "r-1")
    assert contextvars.Context().run(trace.current) is None


def test_work_that_was_asked_for_elsewhere_goes_on_with_its_trace_and_leaves_none_behind():
    outer = trace.begin("", "outer")
    with trace.going_on(f"00-{TRACE}-{SPAN}-00", "r-7", actor="user:bob") as inner:
        assert (inner.trace_id, inner.request_id, inner.actor) == (TRACE, "r-7", "user:bob")
        trace.note(realm="other")
    assert trace.current() == outer


def test_a_tracer_of_its_own_says_the_ids():
    trace.set_source(lambda: trace.Parent("a" * 32, "b" * 16, True))
    begun = trace.begin(f"00-{TRACE}-{SPAN}-00")
    assert begun.traceparent == f"00-{'a' * 32}-{'b' * 16}-01"
    trace.set_source(lambda: None)
    assert trace.begin(f"00-{TRACE}-{SPAN}-00").trace_id == TRACE
