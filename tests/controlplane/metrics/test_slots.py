"""A slot outlives its process: its counts go on with the next holder, its gauges end with the process."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from controlplane.collector import slots
from controlplane.collector.slots import Figures, Slot

CHECKS = ("permission_checks_total", ("allowed",))
ENTRIES = ("permission_cache_entries", ("subject",))
DURATION = ("permission_request_seconds", ("wire",))

HOLDER = """
import sys, time
from pathlib import Path
from controlplane.collector.slots import Figures, Slot
slot = Slot(Path(sys.argv[1]), "server")
counters = {("permission_checks_total", ("allowed",)): float(sys.argv[2])}
slot.write(Figures(counters, {("permission_cache_entries", ("subject",)): 1.0}))
print(slot.number, flush=True)
time.sleep(600)
"""


def holder(folder: Path, count: float) -> tuple[subprocess.Popen[str], int]:
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(folder), str(count)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, int(process.stdout.readline())


def killed(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def total(folder: Path) -> float:
    return sum(value for read in slots.read(folder) for name, labels, value in read.page.counters if (name, labels) == CHECKS)


def test_two_processes_never_have_the_same_slot_and_a_killed_one_s_is_free_at_once(tmp_path):
    first, number = holder(tmp_path, 5)
    second, other = holder(tmp_path, 7)
    assert (number, other) == (0, 1) and total(tmp_path) == 12
    killed(first)
    third, again = holder(tmp_path, 1)
    assert again == 0, "the place of the dead is taken again: files do not pile up"
    assert total(tmp_path) == 13
    killed(second)
    killed(third)
    assert len(list(tmp_path.glob("*.figures"))) == 2


def test_what_a_killed_process_had_counted_stays_and_is_counted_once(tmp_path):
    for expected in (5, 10, 15):
        process, _ = holder(tmp_path, 5)
        killed(process)
        assert total(tmp_path) == expected


def test_a_gauge_ends_with_its_process_and_a_counter_does_not(tmp_path):
    process, _ = holder(tmp_path, 5)
    assert [read.is_held for read in slots.read(tmp_path)] == [True]
    killed(process)
    assert [read.is_held for read in slots.read(tmp_path)] == [False]
    assert total(tmp_path) == 5


def test_looking_at_the_locks_never_makes_a_free_slot_seem_taken(tmp_path, monkeypatch):
    """A reader holds a slot's lock for a moment. Whoever starts just then must not go elsewhere, or slots would pile up."""
    first = Slot(tmp_path, "server")
    first.write(Figures())
    first.close()
    taken, given_back = threading.Event(), threading.Event()

    def slow_look(folder: Path, number: int) -> bool:
        with (folder / f"slot-{number}.lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            taken.set()
            given_back.wait(30)
        return False

    monkeypatch.setattr(slots, "_is_held", slow_look)
    reader = threading.Thread(target=slots.read, args=(tmp_path,))
    reader.start()
    assert taken.wait(30)
    made: list[Slot] = []
    starter = threading.Thread(target=lambda: made.append(Slot(tmp_path, "server")))
    starter.start()
    starter.join(0.5)  # it waits for the reader; one that does not has taken another slot by now
    given_back.set()
    starter.join()
    reader.join()
    assert made[0].number == 0
    made[0].close()


def test_a_counter_that_dips_waits_and_a_histogram_goes_on_bucket_by_bucket(tmp_path):
    slot = Slot(tmp_path, "server")
    slot.write(Figures({CHECKS: 9.0}, {}, {DURATION: ([1.0, 2.0, 0.0], 0.5)}))
    slot.write(Figures({CHECKS: 4.0}, {}, {DURATION: ([2.0, 2.0, 1.0], 3.5)}))
    assert total(tmp_path) == 9
    slot.close()
    following = Slot(tmp_path, "server")
    following.write(Figures({CHECKS: 1.0}, {}, {DURATION: ([1.0, 0.0, 0.0], 0.1)}))
    (read,) = slots.read(tmp_path)
    (histogram,) = read.page.histograms
    assert total(tmp_path) == 10 and histogram.counts == [3.0, 2.0, 1.0] and histogram.total == pytest.approx(3.6)
    following.close()


def test_a_release_with_other_buckets_starts_its_histogram_anew():
    assert slots.added_up([{DURATION: ([1.0, 1.0], 1.0)}, {DURATION: ([1.0, 1.0, 1.0], 2.0)}]) == {DURATION: ([1, 1, 1], 2.0)}


def test_the_starter_wipes_what_nobody_holds_and_nothing_while_anybody_does(tmp_path):
    process, _ = holder(tmp_path, 5)
    assert slots.wipe(tmp_path) is False and total(tmp_path) == 5, (
        "runcontrol beside: its counts, and those it stands beside, go on"
    )
    killed(process)
    assert slots.wipe(tmp_path) is True and slots.read(tmp_path) == []


@pytest.mark.parametrize("content", [b"", b"\xff\x00nonsense", slots._encoder.encode({"version": 1}), b"\x93\x01\x02\x03"])
def test_a_file_that_is_none_of_ours_is_passed_over_and_replaced(tmp_path, content):
    slot = Slot(tmp_path, "server")
    slot.close()
    (tmp_path / "slot-0.figures").write_bytes(content)
    assert slots.read(tmp_path) == []
    following = Slot(tmp_path, "server")
    following.write(Figures({CHECKS: 2.0}))
    assert total(tmp_path) == 2
    following.close()


def test_a_file_of_another_version_is_not_added_to(tmp_path):
    slot = Slot(tmp_path, "server")
    slot.write(Figures({CHECKS: 5.0}))
    slot.close()
    page = slots._decoder.decode((tmp_path / "slot-0.figures").read_bytes())
    page.version = slots.VERSION + 1
    (tmp_path / "slot-0.figures").write_bytes(slots._encoder.encode(page))
    following = Slot(tmp_path, "server")
    following.write(Figures({CHECKS: 1.0}))
    assert total(tmp_path) == 1
    following.close()


def test_more_processes_than_slots_are_told_so(tmp_path, monkeypatch):
    monkeypatch.setattr(slots, "MOST", 1)
    slot = Slot(tmp_path, "server")
    with pytest.raises(OSError, match=r"all 1 slots of .* are taken"):
        Slot(tmp_path, "server")
    slot.close()


def test_a_forked_child_leaves_the_slot_to_its_parent(tmp_path):
    slot = Slot(tmp_path, "server")
    slot.write(Figures({CHECKS: 3.0}))
    pid = os.fork()
    if pid == 0:
        slot.forget()
        slot.write(Figures({CHECKS: 100.0}))
        os._exit(0)
    os.waitpid(pid, 0)
    (read,) = slots.read(tmp_path)
    assert read.is_held and total(tmp_path) == 3
    slot.close()


def test_a_folder_that_is_not_there_has_no_figures(tmp_path):
    assert slots.read(tmp_path / "none") == []
