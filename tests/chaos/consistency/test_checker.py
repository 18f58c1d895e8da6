"""The checker blames what is wrong and nothing else: logs written by hand, one fault planted in each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.chaos.consistency import checker
from tests.chaos.consistency import world as w
from tests.chaos.consistency.records import Log

MS = 1_000_000
WALL_US = 1_790_000_000_000_000
GRANT = ["bind", "user:u0", None, ["doc:read"], [], None, "", None, None, True]
REVOKE = ["clear", "user:u0"]
SEED = [["permission", "doc:read", [], False], ["subject", "user:u0", True, False, None]]
YES, NO = (1, "granted"), (0, "no_grant")


class Story:
    """A log of one process: writes and answers at milliseconds of the boot-time clock."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = Log(folder / "p0.r0.log")
        self.rows = [checker.Row("seed", 1, True, "service", SEED)]
        self.log.now("w", "seed", 1 * MS, "")

    def write(self, op: str, step: list[Any], at_ms: float, *, changed: bool = True, rev: int = 0) -> None:
        rev = rev or self.rows[-1].rev + changed
        self.rows.append(checker.Row(op, rev, changed, "service", [step]))
        self.log.now("i", op, "service", {"alpha": [step]})
        self.log.now("w", op, int(at_ms * MS), "")

    def answer(
        self,
        at_ms: float,
        rev: int,
        given: tuple[int, str],
        *,
        mode: str = "bounded",
        op: str = "",
        log: Any = None,
        source: str = "l1",
    ) -> None:
        start, wall = int(at_ms * MS), WALL_US + int(at_ms * 1000)
        item = ["user:u0", "doc:read", None, 0, *given, rev, source, 0]
        (log or self.log).now("a", start, start + MS // 10, wall, wall + 100, "alpha", mode, op, [item])

    def found(self, *more: checker.History) -> checker.Findings:
        rows = {"alpha": self.rows, "beta": [checker.Row("seed", 1, True, "service", SEED)]}
        return checker.check(self.folder, [*more, checker.History(rows, more[-1].closed_ns or 0 if more else 0)])


@pytest.fixture
def story(tmp_path):
    found = Story(tmp_path)
    found.write("grant", GRANT, 100)  # revision 2
    found.write("revoke", REVOKE, 200)  # revision 3
    return found


def test_it_blames_nobody_where_all_is_right(story):
    story.answer(50, 1, NO)
    story.answer(150, 2, YES)
    story.answer(250, 2, YES)  # 50 ms old
    story.answer(260, 3, NO)
    story.answer(270, 3, NO, mode="token", op="revoke")
    story.answer(280, 3, NO, mode="full")
    found = story.found()
    assert found.faults == 0, found.told
    assert (found.checks, found.revisions) == (6, 4)
    assert found.worst_age_ms == 50


def test_an_answer_that_its_revision_does_not_give_is_wrong(story):
    story.answer(260, 3, YES)
    assert story.found().wrong == 1


def test_a_reason_that_the_law_does_not_give_is_wrong(story):
    story.answer(260, 3, (0, "explicit_deny"))
    assert story.found().wrong == 1


def test_a_revision_that_never_was_is_wrong(story):
    story.answer(260, 9, NO)
    assert story.found().wrong == 1


def test_a_batch_of_two_revisions_is_wrong(story):
    story.log.now(
        *("a", 260 * MS, 261 * MS, WALL_US, WALL_US, "alpha", "bounded", ""),
        [["user:u0", "doc:read", None, 0, *NO, 3, "l1", 0], ["user:u0", "doc:read", None, 0, *YES, 2, "l1", 0]],
    )
    assert story.found().wrong >= 1


def test_an_answer_below_the_token_breaks_it(story):
    story.answer(260, 2, YES, mode="token", op="revoke")
    found = story.found()
    assert (found.broken_tokens, found.wrong) == (1, 0)


def test_a_good_token_that_is_refused_is_broken(story):
    story.log.now("e", 260 * MS, 261 * MS, "alpha", "token", "revoke", "TokenFromFuture")
    assert story.found().broken_tokens == 1


def test_an_answer_older_than_the_bound_is_beyond_it(story):
    story.answer(200 + 500, 2, YES)
    story.answer(200 + 501, 2, YES)
    found = story.found()
    assert (found.beyond_bound, found.wrong) == (1, 0)


def test_full_mode_must_see_every_acknowledged_commit(story):
    story.answer(201, 2, YES, mode="full")
    assert story.found().beyond_bound == 1


def test_a_process_that_goes_back_is_blamed(story):
    story.answer(210, 3, NO)
    story.answer(220, 2, YES)
    assert story.found().back == 1


def test_a_live_answer_is_ahead_of_what_the_process_knows_and_never_behind(story):
    story.answer(210, 3, NO, source="live")
    story.answer(220, 2, YES)
    assert story.found().faults == 0
    story.answer(230, 3, NO)
    story.answer(240, 2, YES, source="live")
    assert story.found().back == 1


def test_another_process_may_be_behind(story):
    story.answer(210, 3, NO)
    story.answer(220, 2, YES, log=Log(story.folder / "p1.r0.log"))
    assert story.found().faults == 0


def test_answers_that_overlap_may_come_in_either_order(story):
    story.answer(210, 3, NO)
    story.answer(210.05, 2, YES)
    assert story.found().faults == 0


def test_a_missing_revision_is_disorder(story):
    story.write("later", GRANT, 300, rev=5)
    assert story.found().disorder == 1


def test_a_revision_made_twice_is_disorder(story):
    story.write("twin", REVOKE, 300, rev=3)
    assert story.found().disorder == 1


def test_a_change_that_made_no_revision_is_disorder(story):
    story.write("silent", GRANT, 300, changed=False)
    assert story.found().disorder == 1


def test_an_acknowledged_write_that_is_not_there_is_disorder(story):
    story.log.now("i", "gone", "service", {"alpha": [GRANT]})
    story.log.now("w", "gone", 300 * MS, "")
    assert story.found().disorder == 1


def test_other_final_rows_are_disorder(story):
    model = w.Realm("alpha")
    for row in story.rows:
        model.apply(row.steps)
    seed = w.Realm("beta")
    seed.apply(SEED)
    final = {"alpha": model.rows(), "beta": seed.rows()}
    rows = {"alpha": story.rows, "beta": [checker.Row("seed", 1, True, "service", SEED)]}
    assert checker.check(story.folder, [checker.History(rows, 0)], final).faults == 0
    model.apply([GRANT])
    final["alpha"] = model.rows()
    assert checker.check(story.folder, [checker.History(rows, 0)], final).disorder == 1


def test_near_an_end_both_answers_are_right_and_far_from_it_one(story):
    end_us = WALL_US + 1_000_000
    story.write("short", ["bind", "user:u0", None, ["doc:read"], [], None, "", None, end_us, True], 900)
    story.answer(990, 4, YES)
    story.answer(999, 4, (0, "expired"))  # cautious
    story.answer(1003, 4, YES)  # within the clocks' uncertainty
    assert story.found().faults == 0
    story.answer(1010, 4, YES)
    assert story.found().wrong == 1


def test_an_allow_before_its_start_is_wrong(story):
    start_us = WALL_US + 1_000_000
    story.write("later", ["bind", "user:u0", None, ["doc:read"], [], None, "", start_us, None, True], 900)
    story.answer(980, 4, (0, "not_yet_valid"))
    story.answer(1200, 4, (0, "not_yet_valid"))  # a holder waits for the clock's slack
    assert story.found().faults == 0
    story.answer(985, 4, YES)
    assert story.found().wrong == 1


def test_lost_commits_end_a_history_and_what_was_known_of_it_lives_for_the_bound(story):
    """At 1,000 ms the revoke is lost; the next history has another revision 3."""
    before = checker.History({"alpha": list(story.rows), "beta": [checker.Row("seed", 1, True, "service", SEED)]}, 0, 1_000 * MS)
    del story.rows[-1]
    story.write("other", ["subject", "user:u1", True, False, None], 1_100)
    story.answer(1_050, 3, NO)  # the dead history's
    story.answer(1_200, 3, YES)  # the present one's
    story.answer(1_400, 3, NO, mode="token", op="revoke")
    found = story.found(before)
    assert found.faults == 0, found.told
    story.answer(1_501, 3, NO)
    assert story.found(before).wrong == 1


def test_a_token_of_a_dead_history_may_be_refused(story):
    before = checker.History({"alpha": list(story.rows), "beta": [checker.Row("seed", 1, True, "service", SEED)]}, 0, 1_000 * MS)
    del story.rows[-1]
    story.log.now("e", 1_600 * MS, 1_601 * MS, "alpha", "token", "revoke", "TokenFromFuture")
    assert story.found(before).faults == 0


def test_the_torn_last_line_of_a_killed_process_is_left_out(story):
    with (story.folder / "p0.r0.log").open("a", encoding="utf-8") as log:
        log.write('["a",26')
    assert story.found().faults == 0
