"""The evaluator: every rule against a frame, in the leader's sampler thread; written under its fence, or kept until it can be.

1. A round is one transaction of the leader: what is open is read, judged, written, with the notices to send beside it. So another
   leader goes on where this one stopped: no `for` begins anew, and no notice is written twice.
2. Without the database the last leader goes on in memory, with the rules of its last round. What it finds is journalled under
   keys of its own, delivered, and stored when the database answers, whether it leads by then or not.
3. Nothing is sent from here: the courier's threads deliver.
"""

from __future__ import annotations

import datetime as dt
import logging
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from django.db import InterfaceError, OperationalError, connection, transaction

from controlplane.alerts import counting, ledger, notices
from controlplane.alerts.courier import Courier
from controlplane.alerts.ledger import Loaded
from controlplane.alerts.machine import Round, judge
from controlplane.alerts.records import HANDLER_FAILED, OWN_TEXTS, RULE_ERROR, Delivery, Incident, Subject
from controlplane.live.port import LiveError
from controlplane.models.alerts import label_key
from controlplane.services import alert_settings
from controlplane.services.alert_expressions import WINDOWS, Data, Verdict, data_of
from resilience import telemetry
from resilience.clock import SYSTEM, Clock

log = logging.getLogger("controlplane.alerts")

Means = Callable[[float], Mapping[str, Any]]
PRUNE_S: Final = 600.0
# Incidents kept for a database that is away; beyond it the oldest are lost. A flapping rule makes one in 10 s at most.
MAX_JOURNAL: Final = 5_000
# A round takes some ten milliseconds; by then the sampler's probe calls the database down, too.
ROWS_S: Final = 4.0
# Two samples of one second may come a little early.
EARLY_S: Final = 0.5
# A round that fails this way means that the database is away; others are faults of ours.
_AWAY: Final = (OperationalError, InterfaceError)
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_TRUE: Final = Verdict("true", {})
_FALSE: Final = Verdict("false", {})


class Lead(Protocol):
    """What the sampler says of this process's leading."""

    @property
    def fence(self) -> int: ...
    @property
    def database_away(self) -> bool: ...
    def acting(self) -> AbstractContextManager[Any]:
        """A transaction under the fence. Raises LostLease where another leads."""
        ...


def _live_means(seconds: float) -> Mapping[str, Any]:
    from controlplane import live  # noqa: PLC0415 - it needs a store, which is chosen when first asked

    found: Mapping[str, Any] = live.means(seconds)
    return found


@dataclass(frozen=True, slots=True)
class _Judged:
    done: Round
    deliveries: list[Delivery]
    results: dict[str, Any]


@dataclass(slots=True)
class _Written:
    """What the thread that writes was given of the journal, and how far it came."""

    journal: dict[str, Incident]
    dropped: set[str]
    loaded: Loaded | None = None
    round_: _Judged | None = None
    error: Exception | None = None
    is_given_up: bool = False


class Evaluator:
    """One a process, kept over its times of leading: memory must outlive the database's absence."""

    def __init__(self, *, means: Means = _live_means, courier: Courier | None = None, clock: Clock = SYSTEM) -> None:
        self._clock = clock
        self._means = means
        self.courier = courier or Courier(self._keep_house)
        self._lock = threading.RLock()
        self._loaded: Loaded | None = None
        self._journal: dict[str, Incident] = {}
        self._dropped: set[str] = set()
        self._ticked_at = self._pruned_at = float("-inf")
        self._is_away = False
        self._hung: threading.Thread | None = None

    def tick(self, frame: Mapping[str, Any], lead: Lead) -> None:
        """One round. Raises LostLease, and whatever else keeps a round from being written: nothing of it was, then."""
        settings = alert_settings.current()
        began = self._clock.monotonic()
        if began - self._ticked_at < settings["interval_s"] - EARLY_S:
            return
        with self._lock:
            self._ticked_at = began
            data = self._data(frame)
            if lead.database_away:
                self._in_memory(data, settings)
            else:
                self._in_rows(data, lead, settings)

    def close(self, timeout_s: float = 5.0) -> None:
        """What is on its way is delivered, within a time."""
        counting.reset()
        self.courier.close(timeout_s)

    # One round

    def _in_rows(self, data: Data, lead: Lead, settings: Mapping[str, Any]) -> None:
        """Raises LostLease. A database that went, or stands still, on the way leaves the round in memory, as it was judged."""
        if self._hung is not None and self._hung.is_alive():
            self._in_memory(data, settings)
            return
        written = _Written(dict(self._journal), set(self._dropped))
        self._hung = self._bounded(lambda: self._write(written, data, lead, settings))
        if self._hung is not None:
            written.is_given_up = True
            self._away(TimeoutError())
        elif isinstance(written.error, _AWAY):
            self._away(written.error)
        elif written.error is not None:
            telemetry.count("permsite_alert_rounds_total", "failed")
            raise written.error
        loaded, round_ = written.loaded, written.round_  # as far as it came: where a round is, it is what may yet be saved
        if self._is_hung_or(written.error):
            if loaded is None or round_ is None:
                self._in_memory(data, settings)
            else:
                # Perhaps its commit came through and only the answer was lost: under the same keys nothing is told twice.
                self._remember(loaded, round_, settings)
            return
        assert loaded is not None and round_ is not None  # noqa: S101 - there was no error
        for key, incident in written.journal.items():
            if self._journal.get(key) is incident:
                del self._journal[key]
        self._dropped -= written.dropped
        telemetry.count("permsite_alert_rounds_total", "ok")
        self._answers()
        self._loaded = replace(loaded, incidents=tuple(round_.done.open.values()), results=round_.results)
        self._counted(round_.done, loaded.now)
        self.courier.wake(loaded.targets, settings["timeout_s"], rows=True)

    def _is_hung_or(self, error: Exception | None) -> bool:
        return self._hung is not None or error is not None

    def _bounded(self, work: Callable[[], None]) -> threading.Thread | None:
        """The thread, where it did not end in time; it may yet write this round, under keys that tell nothing twice.

        A server that is frozen refuses nothing, it never answers: what waits for it must not be who judges.
        """
        if connection.in_atomic_block:  # a test's transaction, which no other thread sees
            work()
            return None
        thread = threading.Thread(target=work, name="alert-rows", daemon=True)
        thread.start()
        thread.join(ROWS_S)
        return thread if thread.is_alive() else None

    def _write(self, written: _Written, data: Data, lead: Lead, settings: Mapping[str, Any]) -> None:
        """Touches neither journal nor what was loaded: when it comes late, the rounds have gone on."""
        try:
            if written.journal or written.dropped:
                with transaction.atomic():
                    ledger.merge(written.journal.values(), written.dropped, ledger.now())
            with lead.acting():
                loaded = written.loaded = ledger.load()
                round_ = written.round_ = self._judge(loaded, data, loaded.now, settings)
                if written.is_given_up:
                    # Judged by rows that memory has outrun, and not the round that memory kept.
                    raise TimeoutError
                ledger.save(round_.done, round_.deliveries, at=loaded.now, leader=str(lead.fence), results=round_.results)
                self._prune(loaded.now, settings)
        except Exception as error:  # noqa: BLE001 - raised again, or judged, by whoever waits
            written.error = error
        finally:
            if not connection.in_atomic_block:
                connection.close()

    def _in_memory(self, data: Data, settings: Mapping[str, Any]) -> None:
        if self._loaded is None:
            return  # it has led for no round: there is no rule to ask
        loaded = replace(self._loaded, now=max(self._now(), self._loaded.now))
        self._remember(loaded, self._judge(loaded, data, loaded.now, settings), settings)

    def _remember(self, loaded: Loaded, round_: _Judged, settings: Mapping[str, Any]) -> None:
        done = round_.done
        self._loaded = replace(loaded, incidents=tuple(done.open.values()), results=round_.results)
        for incident in done.changed:
            self._journal.pop(incident.key, None)  # to the end: the oldest go first
            self._journal[incident.key] = incident
        for incident in done.dropped:
            self._journal.pop(incident.key, None)
            self._dropped.add(incident.key)
        while len(self._journal) > MAX_JOURNAL:
            del self._journal[next(iter(self._journal))]
        telemetry.count("permsite_alert_rounds_total", "memory")
        self._counted(done, loaded.now)
        self.courier.hand(round_.deliveries)
        self.courier.wake(loaded.targets, settings["timeout_s"], rows=False)

    def _judge(self, loaded: Loaded, data: Data, at: dt.datetime, settings: Mapping[str, Any]) -> _Judged:
        subjects, results = _subjects(loaded, data, at)
        done = judge(subjects, loaded.incidents, at, repeat_s=settings["repeat_s"], is_silent=loaded.is_silent(at))
        return _Judged(done, notices.deliveries(done.notices, loaded.targets, at), results)

    def _data(self, frame: Mapping[str, Any]) -> Data:
        try:
            means = {window: self._means(seconds) for window, seconds in WINDOWS.items()}
        except LiveError:
            means = {}  # the store is away, which the frame itself says
        except Exception as error:  # noqa: BLE001 - without means the rules over the frame go on; the others have no data
            telemetry.internal_error("alerts", "means", error)
            means = {}
        return data_of(frame, means)

    def _counted(self, done: Round, at: dt.datetime) -> None:
        states = [incident.state for incident in done.open.values()]
        counting.count(states.count("firing"), states.count("pending"), at.timestamp())

    def _prune(self, at: dt.datetime, settings: Mapping[str, Any]) -> None:
        if self._clock.monotonic() - self._pruned_at >= PRUNE_S:
            self._pruned_at = self._clock.monotonic()
            ledger.prune(at - dt.timedelta(days=settings["keep_days"]))

    # Without the database, and after

    def _store_journal(self) -> None:
        with transaction.atomic():
            ledger.merge(self._journal.values(), self._dropped, ledger.now())
        self._journal.clear()
        self._dropped.clear()

    def _keep_house(self) -> bool:
        """From the courier's thread: a journal whose process leads no longer. Whether something is left to do."""
        with self._lock:
            if not self._journal and not self._dropped:
                return False
            if self._clock.monotonic() - self._ticked_at < 2 * alert_settings.current()["interval_s"]:
                return True  # it leads still, and stores it itself
            self._store_journal()
            self._loaded = None
            return False

    def _now(self) -> dt.datetime:
        """This host's clock, where the database cannot be asked for its own."""
        return _EPOCH + dt.timedelta(microseconds=self._clock.now_us())

    def _away(self, error: BaseException) -> None:
        if not self._is_away:
            self._is_away = True
            log.warning("alerts go on in memory: the database does not answer (%s)", type(error).__name__)

    def _answers(self) -> None:
        if self._is_away:
            self._is_away = False
            log.info("alerts are in rows again")


def _subjects(loaded: Loaded, data: Data, at: dt.datetime) -> tuple[list[Subject], dict[str, Any]]:
    """Every rule with its verdict, and our own conditions: a rule that cannot be asked, a handler that fails."""
    subjects, results = [], {}
    for rule in loaded.rules:
        verdict = Verdict("error", {}, rule.problem) if rule.expression is None else rule.expression.evaluate(data)
        before = loaded.results.get(rule.name, {})
        same = before.get("result") == verdict.result
        results[rule.name] = {
            "result": verdict.result,
            "since": before["since"] if same and "since" in before else at.isoformat(),
            "values": dict(verdict.values),
            "error": verdict.error,
        }
        subjects.append(
            Subject(
                rule.name,
                rule.labels,
                rule.label_key,
                verdict,
                rule.for_s,
                rule.severity,
                rule.expr,
                rule.handlers,
                rule.repeat_s,
                texts=rule.texts,
            )
        )
        is_error = verdict.result == "error"
        subjects.append(_own(RULE_ERROR, {"rule": rule.name}, is_true=is_error, detail=verdict.error))
    # What tells of a failing handler is what cannot fail with it: the log and the live stream.
    safe = tuple(target.name for target in loaded.targets if target.kind in ("log", "event"))
    for target in loaded.targets:
        is_failing = target.failing_since is not None
        subjects.append(
            _own(HANDLER_FAILED, {"handler": target.name}, is_true=is_failing, detail=target.last_error, handlers=safe)
        )
    return subjects, results


def _own(name: str, labels: dict[str, str], *, is_true: bool, detail: str, handlers: tuple[str, ...] = ()) -> Subject:
    return Subject(
        name,
        labels,
        label_key(labels),
        _TRUE if is_true else _FALSE,
        detail=detail if is_true else "",
        handlers=handlers,
        texts=OWN_TEXTS[name],
    )
