"""Each revision read back later is the one that was read while it was the newest: rows, facts, decisions."""

from __future__ import annotations

import pytest

from permissions import revisions, selectors, timeline
from permissions.timeline.facts import Facts
from permissions.timeline.rows import Rows
from tests.permissions.timeline.changes import Changing

CHANGES = 12


def differing(changing: Changing) -> list[str]:
    """What of the past is not what it was then."""
    wrong = []
    oldest = min(changing.seen)
    with selectors.one_snapshot():
        head = revisions.head(changing.realm.name)
        rows = Rows(head.realm_id, oldest)
        line = timeline.Timeline(head, oldest)
        for rev, seen in changing.seen.items():
            facts = Facts(rows, rev)
            if facts.model() != seen.model:
                wrong.append(f"model at {rev}")
            if facts.subject_facts(head.realm_id, list(seen.subjects), ["team:x"]) != seen.subjects:
                wrong.append(f"subjects at {rev}")
            if facts.resource_facts(head.realm_id, list(seen.resources)) != seen.resources:
                wrong.append(f"resources at {rev}")
            pinned = line.pinned(rev, changing.requests, seen.at_us)
            decided = [timeline.decide(pinned, request, place=n) for n, request in enumerate(changing.requests)]
            if decided != seen.decisions:
                wrong.append(f"decisions at {rev}")
    return wrong


@pytest.mark.both_databases
@pytest.mark.parametrize("seed", [*range(2), *(pytest.param(n, marks=pytest.mark.long) for n in range(2, 40))])
def test_every_revision_reads_back_as_it_was(db: None, seed: int) -> None:
    changing = Changing.begun(seed)
    for _ in range(CHANGES):
        changing.change()
    assert len(changing.seen) > CHANGES / 2
    assert any(decision.allowed for seen in changing.seen.values() for decision in seen.decisions)
    assert differing(changing) == []


@pytest.mark.both_databases
@pytest.mark.parametrize("seed", [100, *(pytest.param(n, marks=pytest.mark.long) for n in range(101, 112))])
def test_what_another_program_writes_reads_back_too(db: None, seed: int) -> None:
    changing = Changing.begun(seed)
    for _ in range(CHANGES):
        changing.rnd.choice((changing.change, changing.foreign_change))()
    assert differing(changing) == []
