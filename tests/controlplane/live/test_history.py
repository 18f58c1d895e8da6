"""What was: windows over frames and means, roll-ups that repeat nothing and lose nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from controlplane import live
from controlplane.live import history, store
from controlplane.live.history import DAY_S, HOUR_S, MINUTE_S, RECENT
from controlplane.live.memory import MemoryStore
from controlplane.models import FrameMean

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]
START = 1_699_920_000  # the beginning of a day


class Now:
    def __init__(self, at: float) -> None:
        self.at = at

    def time(self) -> float:
        return self.at


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> Iterator[Now]:
    found = Now(START)
    monkeypatch.setattr("controlplane.live.history.time", found)
    store.use(MemoryStore())
    yield found
    RECENT.end()
    store.reset()


def frame(at: float, **figures: Any) -> dict[str, Any]:
    return {"v": 1, "seq": 1, "fence": 1, "at": at, "state": "ok", **figures}


def test_means_leave_out_what_nobody_knew(now: Now) -> None:
    now.at = START + 10
    RECENT.begin([frame(START + 1, a=1.0, b=None), frame(START + 2, a=3.0, b=8.0, on=True), frame(START - 100, a=99.0)])
    assert live.means(60) == {"a": 2.0, "b": 8.0}


def test_means_are_read_from_the_store_where_this_process_does_not_lead(now: Now) -> None:
    now.at = START + 10
    store.current().put_frame(1, msgspec.json.encode(frame(START + 1, a=5.0)))
    store.current().put_frame(2, b"broken")
    assert live.means(60) == {"a": 5.0}


def test_a_minute_is_written_once_when_it_has_ended(now: Now) -> None:
    RECENT.begin([frame(START + second, a=float(second)) for second in range(90)])
    assert history.roll_up(START + 59) == 0
    assert history.roll_up(START + 90) == 1
    assert history.roll_up(START + 91) == 0
    assert list(FrameMean.objects.values_list("step_s", "at", "figures")) == [(60, START, {"a": 29.5})]


def test_minutes_without_a_leader_are_caught_up(now: Now) -> None:
    RECENT.begin([frame(START + 30), frame(START + 70, a=1.0), frame(START + 600, a=2.0), frame(START + 700, a=4.0)])
    history.roll_up(START + 660)
    assert list(FrameMean.objects.order_by("at").values_list("at", flat=True)) == [START, START + 60, START + 600]


def test_hours_and_days_are_made_of_the_finer_means(now: Now) -> None:
    minutes = [FrameMean(step_s=60, at=START + 60 * n, figures={"a": float(n // 60)}) for n in range(24 * 60)]
    FrameMean.objects.bulk_create(minutes)
    history.roll_up(START + DAY_S + 10)
    hours = FrameMean.objects.filter(step_s=HOUR_S).order_by("at")
    assert [row.figures["a"] for row in hours] == [float(hour) for hour in range(24)]
    assert [row.figures["a"] for row in FrameMean.objects.filter(step_s=DAY_S)] == [11.5]
    history.roll_up(START + DAY_S + 20)
    assert FrameMean.objects.count() == 24 * 60 + 24 + 1


def test_what_is_too_old_goes(now: Now) -> None:
    FrameMean.objects.create(step_s=MINUTE_S, at=START - 31 * DAY_S, figures={"a": 1})
    FrameMean.objects.create(step_s=HOUR_S, at=START - 31 * DAY_S, figures={"a": 1})
    FrameMean.objects.create(step_s=HOUR_S, at=START - 400 * DAY_S, figures={"a": 1})
    history.roll_up(START)
    assert list(FrameMean.objects.filter(step_s=MINUTE_S)) == []
    assert [row.at for row in FrameMean.objects.filter(step_s=HOUR_S)] == [START - 31 * DAY_S]


def test_a_clock_that_was_set_back_ends_no_minutes(now: Now) -> None:
    FrameMean.objects.create(step_s=MINUTE_S, at=START + 10 * DAY_S, figures={"a": 1})
    RECENT.begin([frame(START + second, a=1.0) for second in range(70)])
    assert history.roll_up(START + 70) == 1


@pytest.mark.parametrize("name", history.WINDOWS)
def test_every_window_has_columns_of_one_length(now: Now, name: str) -> None:
    now.at = START + 3 * HOUR_S
    RECENT.begin([frame(now.at - 90 + second, a=float(second), b=None if second < 50 else 1.0) for second in range(90)])
    FrameMean.objects.create(step_s=MINUTE_S, at=START + HOUR_S, figures={"a": 7.0})
    FrameMean.objects.create(step_s=HOUR_S, at=START - HOUR_S, figures={"a": 7.0})
    found = history.window(name)
    assert found["step_s"] == history.WINDOWS[name].step_s
    assert len(found["at"]) == len(found["a"]) == len(found["b"]) > 0
    assert found["at"] == sorted(found["at"])
    assert history.window(name, ["a", "never"])["never"] == [None] * len(found["at"])


def test_an_hour_shows_its_last_minutes_that_no_row_has_yet(now: Now) -> None:
    now.at = START + 200
    FrameMean.objects.create(step_s=MINUTE_S, at=START, figures={"a": 1.0})
    RECENT.begin([frame(START + second, a=2.0) for second in range(200)])
    found = history.window("1h", ["a"])
    assert list(zip(found["at"], found["a"], strict=True)) == [
        (START, 1.0),
        (START + 60, 2.0),
        (START + 120, 2.0),
        (START + 180, 2.0),
    ]


def test_a_window_that_there_is_not_is_refused(now: Now) -> None:
    with pytest.raises(ValueError, match="there is no window '2h'"):
        history.window("2h")
