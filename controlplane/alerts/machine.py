"""inactive → pending → firing → resolved, and what is told of it: pure, so that rows and memory have one behaviour.

1. A verdict of "true" begins an incident (pending) or goes on with it; after `for` it fires. "false" ends it: a pending one
   leaves no trace, a firing one is resolved.
2. "no data" and "error" are neither: a pending incident waits `PATIENCE_S` and is then forgotten, so that `for` never spans a
   time that nobody looked at; a firing one is resolved after `LOST_S`, saying that its figures are gone.
3. Told are the firing, each repeat, and the end of what was told. Silence and acknowledgement hold back the first two alone.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Final

from controlplane.alerts.records import Incident, Kind, Notice, Subject

# A change of leader takes up to 15 s, and the means of a new one may be short of data as long: chosen well above.
PATIENCE_S: Final = 60.0
# Chosen: longer than a restart of everything, shorter than an operator's belief in an old alert.
LOST_S: Final = 300.0
# Two rounds of 5 s may come 9.99 s apart: without it a `for` of 10 s would often wait for a third.
SLACK_S: Final = 0.25
GONE: Final = "the rule was removed, switched off or given other labels"
NO_DATA: Final = "its figures are unknown by now"


@dataclass(slots=True)
class Round:
    """What one evaluation changes. `open`: go on; `ended`: resolved now; `dropped`: pending ones that came to nothing."""

    open: dict[tuple[str, str], Incident] = field(default_factory=dict)
    changed: list[Incident] = field(default_factory=list)
    ended: list[Incident] = field(default_factory=list)
    dropped: list[Incident] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)


def judge(
    subjects: Iterable[Subject],
    known: Iterable[Incident],
    now: dt.datetime,
    *,
    repeat_s: float,
    is_silent: Callable[[str, str], bool],
) -> Round:
    """Incidents are not changed in place: whoever fails to store the round still has the old ones."""
    done = Round()
    left = {incident.subject: incident for incident in known}
    for subject in subjects:
        where = (subject.name, subject.label_key)
        before = left.pop(where, None)
        after = _next(subject, before, now)
        if after is None:
            if before is not None:
                done.dropped.append(before)
            continue
        if after.state != "resolved":
            if after.state == "firing" and not after.acknowledged and not is_silent(*where):
                after = _told(done, subject, after, now, repeat_s)
            done.open[where] = after
        else:
            _end(done, after, subject.handlers, subject)
        if after != before:
            done.changed.append(after)
    for before in left.values():
        # Its subject is gone: the rule was removed, or the handler it speaks of.
        if before.state == "pending":
            done.dropped.append(before)
        else:
            after = replace(before, state="resolved", resolved_at=now, detail=GONE)
            _end(done, after, (), None)
            done.changed.append(after)
    return done


def _next(subject: Subject, before: Incident | None, now: dt.datetime) -> Incident | None:
    """The incident after this verdict; None: there is none."""
    result = subject.verdict.result
    if result == "true":
        return _true(subject, before, now)
    if before is None:
        return None
    if result == "false":
        return None if before.state == "pending" else replace(before, state="resolved", resolved_at=now)
    unseen_s = (now - before.seen_at).total_seconds()
    if before.state == "pending":
        return before if unseen_s <= PATIENCE_S else None
    if unseen_s <= LOST_S:
        return before
    return replace(before, state="resolved", resolved_at=now, detail=NO_DATA)


def _true(subject: Subject, before: Incident | None, now: dt.datetime) -> Incident:
    unseen_s = 0.0 if before is None else (now - before.seen_at).total_seconds()
    if before is None or (before.state == "pending" and unseen_s > PATIENCE_S):
        # A pending one from before a pause in which nobody looked begins anew, under its own key: it was never told.
        begun = Incident(subject.name, subject.labels, subject.label_key, subject.severity, subject.expr, now, now)
        before = begun if before is None else replace(begun, key=before.key)
    after = replace(
        before,
        severity=subject.severity,
        expr=subject.expr,
        values=dict(subject.verdict.values),
        detail=subject.detail,
        # The clock may be the database's in one round and this host's in the next: what was seen later stays.
        seen_at=max(now, before.seen_at),
    )
    if after.state == "pending" and (now - after.pending_at).total_seconds() >= subject.for_s - SLACK_S:
        after = replace(after, state="firing", fired_at=now)
    return after


def _told(done: Round, subject: Subject, incident: Incident, now: dt.datetime, repeat_s: float) -> Incident:
    kind: Kind
    if incident.told_at is None:
        kind, number = "firing", 0
    else:
        pause_s = repeat_s if subject.repeat_s is None else subject.repeat_s
        if pause_s <= 0 or (now - incident.told_at).total_seconds() < pause_s:
            return incident
        kind, number = "repeat", incident.notices
    told = replace(incident, told_at=now, notices=incident.notices + 1)
    done.notices.append(Notice(kind, number, told, subject.handlers, subject.texts))
    return told


def _end(done: Round, incident: Incident, handlers: tuple[str, ...], subject: Subject | None) -> None:
    done.ended.append(incident)
    if incident.told_at is not None:
        texts = {} if subject is None else subject.texts
        done.notices.append(Notice("resolved", 0, incident, handlers, texts))
