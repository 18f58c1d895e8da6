"""The page's example runs, and its figures are the code's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from controlplane.loop import leader, lease, pruning
from controlplane.loop.expiry import BATCH, KINDS
from controlplane.loop.tasks import every_task

PAGE = Path(__file__).resolve().parents[3] / "docs" / "subsystems" / "leader_loop.md"


@pytest.mark.django_db
def test_the_example_of_the_page_runs(capsys):
    (example,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    exec(compile(example, str(PAGE), "exec"), {})
    assert capsys.readouterr().out == "said 1\nsaid 2\nsaid 3\n"


def rows(first: str) -> dict[str, str]:
    found = re.findall(rf"^\| {first} \| ([^|]+) \|", PAGE.read_text(), re.M)
    return {name: value.strip() for name, value in found}


def test_its_figures_are_the_codes():
    told = rows(r"`([A-Z_]+)`")
    assert told["LEASE_S"] == f"{lease.LEASE_S:g} s" and told["RENEW_S"] == f"{leader.RENEW_S:g} s"
    assert told["POLL_S"] == f"{leader.POLL_S:g} s" and told["PAUSE_S"] == f"{leader.PAUSE_S:g} s"
    text = PAGE.read_text()
    assert f"`STALLED_S`, `WAIT_S` | 5 s, {lease.WAIT_S:g} s" in text
    assert f"{pruning.KEEP_S / 3600:g} h, {pruning.KEEP_REVISIONS:,}" in text
    assert (
        f"at most {leader.MAX_RETRY_S:g} s" in text
        and f"about {pruning.BATCH:,} rows" in text
        and f"at most {BATCH} of them" in text
    )


def test_it_names_every_task_and_every_kind_of_end():
    told = rows(r"`(\w+)`")
    assert {task.name: f"{task.interval_s:g} s" for task in every_task()}.items() <= told.items()
    assert set(KINDS) <= set(told)
