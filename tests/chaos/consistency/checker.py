"""The linear replay: every logged answer against the law on the requested operations of the revision that it names.

C1 wrong: the answer is none of those that the law gives at that revision between the start and the end of the check.
C2 broken token: a revision below the token's, or a token refused that the realm had reached.
C3 beyond the bound: a commit acknowledged before (start - D) is not in it.
C4 back: in one process a later answer names an older revision of the same history than W was seen at. (A live answer is read
   past the cache, ahead of W, and says nothing of it.)
Also: revisions without gaps, one transaction each; what made no revision changes nothing; the final rows equal the replay.

A history ends where the database lost commits; the next one begins with what was put back. An answer may belong to a dead history
only if it began within D of that history's end, since nothing later can have told its process that it was the newest.

Instants: the law is asked from CLOCK_US before the start to CLOCK_US after the end of the check. A holder of a grant pays for the
uncertainty of its process's clock offset, so a denial may be that of an instant up to CAUTION_US away; an allow may not.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.chaos.consistency import records
from tests.chaos.consistency import world as w
from tests.chaos.consistency.truth import Slot, Truth

CLOCK_US: Final = 5_000  # the wall clock is read by two processes and the database, on one machine
CAUTION_US: Final = 1_000_000  # the hard limit of a catch-up, so of half its round trip
BACK_S: Final = 3.0  # after the database's return a process serves again
# What a writer may meet: the database goes, or the request names what another writer has deleted.
EXPECTED: Final = frozenset(
    {"OperationalError", "AdminShutdown", "InterfaceError", "Invalid", "Conflict", "NotFound", "DoesNotExist"}
)
KEPT: Final = 20  # findings of each kind that are told in full


@dataclass(slots=True)
class Row:
    """One noted transaction, of one realm."""

    op: str
    rev: int
    changed: bool
    style: str
    steps: list[Any]


@dataclass(slots=True)
class History:
    """What one life of the database noted, from the beginning. `opened_ns` to `closed_ns`: when processes could reach it."""

    rows: dict[str, list[Row]]
    opened_ns: int
    closed_ns: int | None = None


@dataclass(slots=True)
class Findings:
    """Figures of a run; `told` holds examples of what is wrong."""

    checks: int = 0
    revisions: int = 0
    writes: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)
    modes: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    wrong: int = 0
    broken_tokens: int = 0
    beyond_bound: int = 0
    back: int = 0
    disorder: int = 0
    unserved: int = 0
    worst_age_ms: float = 0.0
    stale: int = 0
    odd: list[str] = field(default_factory=list)
    told: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    @property
    def faults(self) -> int:
        return self.wrong + self.broken_tokens + self.beyond_bound + self.back + self.disorder

    def tell(self, kind: str, text: str) -> None:
        setattr(self, kind, getattr(self, kind) + 1)
        if len(self.told[kind]) < KEPT:
            self.told[kind].append(text)


@dataclass(slots=True)
class Answer:
    process: str
    start_ns: int
    end_ns: int
    start_us: int
    end_us: int
    mode: str
    op: str
    items: list[Any]

    @property
    def rev(self) -> int:
        return int(self.items[0][6])

    @property
    def is_live(self) -> bool:
        return bool(self.items[0][7] == "live")


@dataclass(slots=True)
class _Path:
    """One realm in one history: transactions by revision, acknowledgements in order."""

    number: int
    history: History
    rows: list[Row]
    rev_of: dict[str, int]
    acked_ns: list[int]
    acked_rev: list[int]
    ack_after: dict[int, int]  # revision → when the first commit above it was acknowledged

    def least(self, before_ns: int) -> int:
        place = bisect_left(self.acked_ns, before_ns)
        return self.acked_rev[place - 1] if place else 0


def read_folder(folder: Path) -> tuple[dict[str, list[Answer]], list[tuple[str, list[Any]]], dict[str, int], Findings]:
    """Answers by realm, refusals, acknowledgements by operation, and the counts of what was tried."""
    findings = Findings()
    answers: dict[str, list[Answer]] = {realm: [] for realm in w.REALMS}
    refusals: list[tuple[str, list[Any]]] = []
    acks: dict[str, int] = {}
    for path in sorted(folder.glob("*.log")):
        process = path.name.split(".")[0]
        for line in records.lines(path):
            kind = line[0]
            if kind == "a":
                _, start_ns, end_ns, start_us, end_us, realm, mode, op, items = line
                answers[realm].append(Answer(process, start_ns, end_ns, start_us, end_us, mode, op, items))
            elif kind == "e":
                refusals.append((process, line))
                findings.refusals[line[6]] += 1
            elif kind == "w":
                acks[line[1]] = line[2]
                findings.writes["acknowledged"] += 1
            elif kind == "i":
                findings.writes["style " + line[2]] += 1
            elif kind == "x":
                findings.writes["refused " + line[2]] += 1
                if line[2] not in EXPECTED and len(findings.odd) < KEPT:
                    findings.odd.append(f"{line[1]}: {line[2]}: {line[3]}")
            elif kind == "fault":
                findings.tell("disorder", f"{path.name}: a thread ended by {line[1]}: {line[2]}")
    return answers, refusals, acks, findings


def check(
    folder: Path,
    histories: list[History],
    final: dict[str, dict[str, Any]] | None = None,
    outages: Sequence[tuple[int, int]] = (),
) -> Findings:
    """`final`: the tables at the end, as `world.Realm.rows` tells them. `outages`: when the database was away, by design."""
    answers, refusals, acks, findings = read_folder(folder)
    excused = sorted((start_ns, end_ns + int(BACK_S * 1e9)) for start_ns, end_ns in outages)
    findings.unserved = sum(
        line[6] != "TokenFromFuture" and not any(start_ns <= line[2] and line[1] <= end_ns for start_ns, end_ns in excused)
        for _, line in refusals
    )
    for realm in w.REALMS:
        paths = [_path(number, history, realm, acks) for number, history in enumerate(histories)]
        _no_gaps(findings, realm, paths[-1])
        _nothing_lost(findings, realm, paths, acks, folder)
        findings.revisions += len({row.rev for path in paths for row in path.rows if row.changed})
        good = _replayed(findings, realm, paths, answers[realm], None if final is None else final[realm])
        _never_back(findings, realm, good)
        _refused_tokens(findings, realm, paths, [(p, line) for p, line in refusals if line[3] == realm])
    return findings


def _path(number: int, history: History, realm: str, acks: dict[str, int]) -> _Path:
    rows = sorted(history.rows[realm], key=lambda row: (row.rev, not row.changed))
    rev_of = {row.op: row.rev for row in rows}
    pairs = sorted((acks[op], rev) for op, rev in rev_of.items() if op in acks)
    acked_ns, acked_rev, newest = [], [], 0
    for at_ns, rev in pairs:
        newest = max(newest, rev)
        acked_ns.append(at_ns)
        acked_rev.append(newest)
    ack_after: dict[int, int] = {}
    earliest: int | None = None
    by_rev = sorted(((rev, at_ns) for at_ns, rev in pairs), reverse=True)
    place = 0
    for rev in range(rows[-1].rev if rows else 0, -1, -1):
        if earliest is not None:
            ack_after[rev] = earliest
        while place < len(by_rev) and by_rev[place][0] == rev:
            earliest = by_rev[place][1] if earliest is None else min(earliest, by_rev[place][1])
            place += 1
    return _Path(number, history, rows, rev_of, acked_ns, acked_rev, ack_after)


def _no_gaps(findings: Findings, realm: str, path: _Path) -> None:
    changed = Counter(row.rev for row in path.rows if row.changed)
    twice = [rev for rev, number in changed.items() if number > 1]
    if twice:
        findings.tell("disorder", f"{realm}: revisions made twice: {twice[:5]}")
    if changed:
        missing = set(range(min(changed), max(changed) + 1)) - set(changed)
        if missing:
            findings.tell("disorder", f"{realm}: revisions nobody asked for, or lost: {sorted(missing)[:5]}")


def _nothing_lost(findings: Findings, realm: str, paths: list[_Path], acks: dict[str, int], folder: Path) -> None:
    """Every acknowledged commit is noted in some history (a rolled-back one leaves no note, and asks for none)."""
    missing = acks.keys() - {op for path in paths for op in path.rev_of}
    for log in folder.glob("*.log"):
        for line in records.lines(log):
            # A raw request may name somebody who is not there: then nothing is written.
            if line[0] == "i" and realm in line[3] and line[2] not in {"rolled_back", "raw"} and line[1] in missing:
                findings.tell("disorder", f"{realm}: {line[1]} was acknowledged and is not there")


def _was_alive(path: _Path, answer: Answer, bound_ns: int) -> bool:
    closed_ns = path.history.closed_ns
    return answer.end_ns >= path.history.opened_ns and (closed_ns is None or answer.start_ns <= closed_ns + bound_ns)


def _replayed(
    findings: Findings, realm: str, paths: list[_Path], answers: list[Answer], final: dict[str, Any] | None
) -> list[tuple[Answer, int]]:
    """C1 to C3. Gives the answers that belong to exactly one history, with its number."""
    bound_ns = int(w.BOUND_S[realm] * 1e9)
    verdicts: dict[int, dict[int, list[str]]] = {}
    for path in paths:
        replay = _Replay(w.Realm(realm), Truth(), path, bound_ns)
        mine = sorted((answer.rev, number) for number, answer in enumerate(answers) if _was_alive(path, answer, bound_ns))
        place = 0
        for row in [*path.rows, None]:
            while place < len(mine) and (row is None or mine[place][0] < row.rev):
                number = mine[place][1]
                verdicts.setdefault(number, {})[path.number] = replay.faults_of(answers[number])
                place += 1
            if row is None:
                break
            before = None if row.changed else replay.model.rows()
            replay.model.apply(row.steps)
            if before is not None and before != replay.model.rows() and path is paths[-1]:
                findings.tell("disorder", f"{realm}: {row.op} at {row.rev} made no revision and should have: {row.steps}")
        if final is not None and path is paths[-1]:
            _compare(findings, realm, replay.model.rows(), final)
    good = []
    for number, answer in enumerate(answers):
        findings.checks += len(answer.items)
        findings.modes[answer.mode] += len(answer.items)
        for item in answer.items:
            findings.sources[item[7]] += 1
            findings.stale += item[8]
        found = verdicts.get(number, {})
        fitting = [path for path, faults in found.items() if not faults]
        if len(fitting) == 1:
            good.append((answer, fitting[0]))
            age_ns = answer.start_ns - paths[fitting[0]].ack_after.get(answer.rev, answer.start_ns)
            findings.worst_age_ms = max(findings.worst_age_ms, age_ns / 1e6)
        elif not fitting:
            if not found:
                findings.tell("beyond_bound", f"{realm} {answer}: of no history that was alive")
            for fault in next(iter(found.values()), []):
                kind, _, text = fault.partition(" ")
                findings.tell(kind, f"{realm} {text} :: {answer}")
    return good


@dataclass(slots=True)
class _Replay:
    """A realm's rows at one revision after another of one history; an answer is judged while they are at its own."""

    model: w.Realm
    truth: Truth
    path: _Path
    bound_ns: int

    def faults_of(self, answer: Answer) -> list[str]:
        """Kind and text of each."""
        faults = []
        rev, path = answer.rev, self.path
        for *question, allowed, reason, revision, _source, stale in answer.items:
            if revision != rev:
                faults.append(f"wrong one batch, two revisions: {rev} and {revision}")
            said = self._wrong((question[0], question[1], question[2], question[3]), (bool(allowed), reason), answer)
            if said:
                faults.append(said)
            if stale:
                faults.append("beyond_bound marked stale, and no grace is set")
        if rev > path.rows[-1].rev:
            faults.append(f"wrong revision {rev} is above the newest, {path.rows[-1].rev}")
        if answer.op in path.rev_of and rev < path.rev_of[answer.op]:
            faults.append(f"broken_tokens answered at {rev}, the token is of {path.rev_of[answer.op]}")
        # The one code that is critical from the beginning to the end is asked as if in full mode.
        is_full = answer.mode == "full" or any(item[1] == w.CRITICAL for item in answer.items)
        least = path.least(answer.start_ns - (0 if is_full else self.bound_ns))
        if rev < least:
            faults.append(f"beyond_bound answered at {rev}, {least} was acknowledged before")
        return faults

    def _wrong(self, question: tuple[str, str, str | None, int], given: Slot, answer: Answer) -> str:
        near = self.truth.slots(self.model, question, answer.start_us - CLOCK_US, answer.end_us + CLOCK_US)
        if given in near:
            return ""
        wide = self.truth.slots(self.model, question, answer.start_us - CAUTION_US, answer.end_us + CAUTION_US)
        if not given[0] and given in wide:
            return ""
        return f"wrong {question} at {answer.rev}: {given}, the law says {sorted(near)}"


def _never_back(findings: Findings, realm: str, good: list[tuple[Answer, int]]) -> None:
    """C4: of two answers of a process, the second begun after the first had ended."""
    by_process: dict[tuple[str, int], list[Answer]] = defaultdict(list)
    for answer, history in good:
        by_process[(answer.process, history)].append(answer)
    for (process, _), mine in by_process.items():
        ended = sorted(mine, key=lambda answer: answer.end_ns)
        place, newest = 0, 0
        for answer in sorted(mine, key=lambda answer: answer.start_ns):
            while place < len(ended) and ended[place].end_ns < answer.start_ns:
                if not ended[place].is_live:
                    newest = max(newest, ended[place].rev)
                place += 1
            if answer.rev < newest:
                findings.tell("back", f"{realm} {process}: {newest} was answered before :: {answer}")


def _refused_tokens(findings: Findings, realm: str, paths: list[_Path], refusals: list[tuple[str, list[Any]]]) -> None:
    for process, line in refusals:
        _, start_ns, end_ns, _realm, _mode, op, name = line
        if name != "TokenFromFuture":
            continue
        bound_ns = int(w.BOUND_S[realm] * 1e9)
        dummy = Answer(process, start_ns, end_ns, 0, 0, "token", op, [])
        if all(op in path.rev_of for path in paths if _was_alive(path, dummy, bound_ns)):
            findings.tell("broken_tokens", f"{realm} {process}: a token that was given out is refused: {line}")


def _compare(findings: Findings, realm: str, expected: dict[str, Any], final: dict[str, Any]) -> None:
    for part, rows in expected.items():
        if rows != final[part]:
            differ = (
                {
                    key: (rows.get(key), final[part].get(key))
                    for key in {*rows, *final[part]}
                    if rows.get(key) != final[part].get(key)
                }
                if isinstance(rows, dict)
                else (rows, final[part])
            )
            findings.tell("disorder", f"{realm}: final {part} differ from what was requested: {str(differ)[:600]}")


def rows_of(records_: Iterable[tuple[str, str, int, bool, str, str]]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {realm: [] for realm in w.REALMS}
    for op, realm, rev, changed, style, steps in records_:
        found[realm].append(Row(op, rev, changed, style, json.loads(steps)))
    return found
