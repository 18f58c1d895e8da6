"""What a store does with a call that a server did not run: the rules alone, without a socket."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from resilience.address import parse
from resilience.errors import StorageError, StorageProtocolError, StorageUnavailable
from resilience.storage.cluster import SLOTS, Routes
from resilience.storage.wire import (
    MAX_REDIRECTIONS,
    TRYAGAIN_PAUSES_S,
    Ask,
    ErrorReply,
    Moved,
    Node,
    Pause,
    Reload,
    Unseen,
    Unsent,
    recovery,
    redirection,
    slot_of,
)

A, B, C = ("10.0.0.1", 1), ("10.0.0.2", 2), ("10.0.0.3", 3)
ARGS = ("take", 1, 1, 1, 1, 9)
MOVED_TO_B = ErrorReply(f"MOVED {slot_of('a')} 10.0.0.2:2")
ASK_B = ErrorReply(f"ASK {slot_of('a')} 10.0.0.2:2")
NOSCRIPT = ErrorReply("NOSCRIPT No matching script. Please use EVAL.")


def play(met: object, *answers: object, node: Node | None = A) -> tuple[list[Any], object]:
    """Runs a recovery against given answers: the steps it took, and its reply or error."""
    steps: list[Any] = []
    told = iter(answers)
    procedure = recovery("gcra", "", "a", ARGS, 0, node=node, met=met)
    answer: object = None
    try:
        while True:
            step = procedure.send(answer)
            steps.append(step)
            answer = next(told) if isinstance(step, Ask | Reload) else None
    except StopIteration as end:
        return steps, end.value
    except (StorageError, Unseen) as error:
        return steps, error


def asked(steps: list[Any]) -> list[tuple[Node | None, bool, bool]]:
    """Node, whether after ASKING, whether with the whole script."""
    return [(step.node, step.asking, b"EVALSHA" not in step.packed) for step in steps if isinstance(step, Ask)]


def test_an_answer_needs_nothing() -> None:
    assert play([1]) == ([], [1])


def test_a_forgotten_script_is_sent_whole_to_the_same_node_once() -> None:
    steps, reply = play(NOSCRIPT, [1])
    assert (asked(steps), reply) == ([(A, False, True)], [1])
    steps, error = play(NOSCRIPT, NOSCRIPT)
    assert len(asked(steps)) == 1
    assert isinstance(error, StorageProtocolError)


def test_a_moved_slot_is_followed_and_written_down() -> None:
    steps, reply = play(MOVED_TO_B, [1])
    assert (steps[0], asked(steps), reply) == (Moved(slot_of("a"), B), [(B, False, False)], [1])


def test_an_ask_is_followed_once_and_not_written_down() -> None:
    steps, reply = play(ASK_B, [1])
    assert (asked(steps), reply) == ([(B, True, False)], [1])
    assert not any(isinstance(step, Moved) for step in steps)


def test_after_an_ask_the_new_node_may_not_know_the_script() -> None:
    steps, reply = play(ASK_B, NOSCRIPT, [1])
    assert (asked(steps), reply) == ([(B, True, False), (B, True, True)], [1])


def test_a_map_that_is_old_while_a_slot_is_on_its_way_takes_two() -> None:
    ask_c = ErrorReply(f"ASK {slot_of('a')} 10.0.0.3:3")
    steps, reply = play(MOVED_TO_B, ask_c, [1])
    assert (asked(steps), reply) == ([(B, False, False), (C, True, False)], [1])


def test_nodes_that_send_in_a_circle_are_left() -> None:
    steps, error = play(MOVED_TO_B, *[MOVED_TO_B] * 20)
    assert len(asked(steps)) == MAX_REDIRECTIONS
    assert isinstance(error, StorageUnavailable)
    assert not error.is_whole_store


def test_tryagain_is_asked_again_a_bounded_number_of_times() -> None:
    again = ErrorReply("TRYAGAIN Multiple keys request during rehashing of slot")
    steps, reply = play(again, again, [1])
    assert (len(asked(steps)), reply) == (2, [1])
    steps, error = play(again, *[again] * 50)
    assert [step.seconds for step in steps if isinstance(step, Pause)] == list(TRYAGAIN_PAUSES_S)
    assert isinstance(error, StorageUnavailable)
    assert not error.is_whole_store


def test_a_dead_node_is_left_for_the_slots_new_owner() -> None:
    steps, reply = play(Unsent("refused"), B, [1])
    assert (steps[0], asked(steps), reply) == (Reload(slot_of("a")), [(B, False, False)], [1])


@pytest.mark.parametrize("owner", [A, None])
def test_a_dead_node_without_a_successor_is_unavailable(owner: Node | None) -> None:
    steps, error = play(Unsent("refused"), owner)
    assert asked(steps) == []
    assert isinstance(error, StorageUnavailable)
    assert error.is_whole_store


def test_a_single_server_that_is_gone_is_not_looked_for_elsewhere() -> None:
    assert play(Unsent("refused"), node=None)[0] == []


def test_what_may_have_run_is_never_sent_again() -> None:
    steps, error = play(Unseen("cut"))
    assert (steps, str(error)) == ([], "cut")


@pytest.mark.parametrize("code", ["OOM", "WRONGTYPE", "READONLY", "CLUSTERDOWN", "NOPERM", "ERR", "CROSSSLOT"])
def test_other_errors_are_told_and_nothing_is_sent(code: str) -> None:
    steps, error = play(ErrorReply(f"{code} for some reason"))
    assert steps == []
    assert isinstance(error, StorageError)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("MOVED 5 10.0.0.2:2", (5, B)),
        ("MOVED 5 :2", (5, (A[0], 2))),
        ("ASK 5 2001:db8::1:6379", (5, ("2001:db8::1", 6379))),
        ("MOVED 5 a.example:7 extra", (5, ("a.example", 7))),
        ("MOVED", None),
        ("MOVED x y:z", None),
        ("MOVED 5 10.0.0.2", None),
    ],
)
def test_a_redirection_names_slot_and_node(text: str, place: object) -> None:
    assert redirection(ErrorReply(text), A) == place


@given(st.text(st.characters(exclude_characters="{}", exclude_categories=["Cs"]), min_size=1))
def test_the_slot_of_a_tag_is_the_clusters_own(tag: str) -> None:
    assert slot_of(tag) == key_slot(f"p:family:{{{tag}}}:x".encode())


def routes() -> Routes:
    return Routes(parse("redis+cluster://10.0.0.1:1,10.0.0.9:9/"), 0.08)


def test_a_map_of_slots_says_who_serves_a_tag() -> None:
    known = routes()
    assert known.load([[0, 8191, ["10.0.0.1", 1, "id"], ["10.0.0.4", 4, "id"]], [8192, 16383, ["", 2, "id"]]], C)
    assert known.owners[0] == known.owners[8191] == A
    assert known.owners[8192] == known.owners[16383] == (C[0], 2), "an empty host means the one that was asked"
    assert known.node("a") == known.owners[slot_of("a")]


def test_a_moved_slot_changes_the_map_alone_there() -> None:
    known = routes()
    assert known.load([[0, 16383, ["10.0.0.1", 1]]], A)
    known.moved(7, B)
    assert known.owners[7] == B
    assert known.owners[6] == known.owners[8] == A
    known.moved(SLOTS, B)
    assert len(known.owners) == SLOTS


@pytest.mark.parametrize("reply", [[], None, ErrorReply("ERR"), [[0]], [["x", 1, ["h", 1]]], [[0, 99999, ["h", 1]]], "OK", 5])
def test_a_reply_that_is_no_map_leaves_the_old_one(reply: object) -> None:
    known = routes()
    assert known.load([[0, 16383, ["10.0.0.1", 1]]], A)
    assert not known.load(reply, B)
    assert set(known.owners) == {A}


def test_a_slot_that_nobody_serves_is_asked_where_the_map_came_from() -> None:
    known = routes()
    assert known.load([[0, 100, ["10.0.0.2", 2]]], A)
    assert known.owners[101] == A
