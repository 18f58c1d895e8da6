"""Starting, cancelling, repeating and looking at jobs: rights, reason and audit, the same for pages, API and code."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from django.db import DatabaseError, InterfaceError, connection, transaction
from django.db.models.functions import Now

from controlplane.jobs import kinds, queue, runner
from controlplane.jobs.kinds import Kind
from controlplane.models import OperationRun
from controlplane.models.jobs import CANCELLED, RUNNING, WAITING
from controlplane.services.rights import MAINTENANCE_PAGE, OPERATE, VIEW, control_realm, require
from permissions.errors import Conflict, Invalid, NotFound, Problem
from permissions.writing import Actor, Write, run_write
from resilience import trace

log = logging.getLogger("controlplane.jobs")

MOST_KEY: Final = 200
MOST_LISTED: Final = 200


def start(
    kind: object,
    *,
    actor: Actor,
    reason: str = "",
    args: object = None,
    key: str = "",
    request_id: str = "",
    repeat_of: UUID | None = None,
) -> OperationRun:
    """The run that was asked for; the one that is there already for the same `key`, or that works at the same thing already.

    Its row, its place in the queue and its entry in the audit are of the transaction that is open, if one is. Raises Invalid,
    Forbidden, and Conflict for a key that was used for something else, or while another run works at it.
    """
    wanted = kinds.known(kind)
    if args is not None and not isinstance(args, Mapping):
        raise Invalid([Problem("arguments", f"must be an object, not {type(args).__name__}")])
    if wanted.page:
        # Reading a bundle takes seconds, and tells which realms there are: not for whoever may start nothing.
        require(actor, OPERATE, wanted.page)
    arguments = wanted.arguments(args or {})
    _check_key(key)
    wanted.may(actor, arguments)
    slot = wanted.slot(arguments)

    def work(write: Write) -> tuple[OperationRun, bool]:
        # Under the lock of the control realm, so two that ask at once are asked one after the other.
        found = _same(wanted, arguments, key, slot)
        if found is not None:
            return found, False
        run = OperationRun.objects.create(
            kind=wanted.name,
            actor=actor.name,
            actor_kind=actor.kind,
            actor_subject=actor.subject or "",
            is_administrator=actor.administrator,
            reason=reason,
            arguments=arguments,
            key=key,
            slot=slot,
            repeat_of=repeat_of,
            request_id=request_id or _request_id(),
            traceparent=trace.traceparent(),
            created_at=Now(),
            heartbeat_at=Now(),
        )
        if not wanted.here:
            run.task_id = queue.enqueue(run.id)
            run.save(update_fields=["task_id"])
        after: dict[str, object] = {"kind": wanted.name, "arguments": wanted.shown(arguments)}
        if repeat_of is not None:
            after["repeats"] = str(repeat_of)
        write.record("control_job_start" if repeat_of is None else "control_job_repeat", "control", str(run.id), None, after)
        return run, True

    (run, is_new), _ = run_write(control_realm(), actor, reason, work, request_id=request_id)
    if is_new:
        transaction.on_commit(lambda: runner.tell("job.waiting", run))
        if wanted.here:
            transaction.on_commit(lambda: _begin_here(run.id))
    run.refresh_from_db()
    return run


def cancel(run_id: UUID, *, actor: Actor, reason: str = "", request_id: str = "") -> OperationRun:
    """One that waits has ended at once; one that runs ends at its next look. Raises NotFound, Forbidden, Conflict."""
    found = _found(run_id)
    _kind_of(found).may(actor, found.arguments)

    def work(write: Write) -> bool:
        run = OperationRun.objects.select_for_update().get(id=run_id)
        if not run.is_open:
            raise Conflict(f"the job has ended already: {run.state}")
        write.record("control_job_cancel", "control", str(run_id), {"state": run.state}, {"cancelled": True})
        asked = {"cancel_asked": True, "cancelled_by": actor.name[:600]}
        if run.state == WAITING:
            OperationRun.objects.filter(id=run_id).update(state=CANCELLED, ended_at=Now(), heartbeat_at=None, **asked)
            queue.discard(run.task_id, "cancelled before it began")
            return True
        OperationRun.objects.filter(id=run_id).update(**asked)
        return False

    has_ended, _ = run_write(control_realm(), actor, reason, work, request_id=request_id)
    run = _found(run_id)
    if has_ended:
        transaction.on_commit(lambda: runner.ended(run))
    return run


def repeat(run_id: UUID, *, actor: Actor, reason: str = "", request_id: str = "") -> OperationRun:
    """A new run of the same. Raises NotFound, Forbidden, Invalid, Conflict while it is not over."""
    run = _found(run_id)
    _kind_of(run).may(actor, run.arguments)
    if run.is_open:
        raise Conflict(f"the job has not ended yet: {run.state}")
    return start(run.kind, actor=actor, reason=reason, args=run.arguments, request_id=request_id, repeat_of=run.id)


def listed(*, actor: Actor, state: str = "", kind: str = "", limit: int = 50) -> list[OperationRun]:
    """Newest first. Raises Forbidden."""
    require(actor, VIEW, MAINTENANCE_PAGE)
    rows = OperationRun.objects.all()
    if state:
        rows = rows.filter(state=state)
    if kind:
        rows = rows.filter(kind=kind)
    return list(rows[: max(1, min(limit, MOST_LISTED))])


def one(run_id: UUID, *, actor: Actor) -> OperationRun:
    """Raises Forbidden, NotFound."""
    require(actor, VIEW, MAINTENANCE_PAGE)
    return _found(run_id)


def shown_arguments(run: OperationRun) -> dict[str, Any]:
    kind = kinds.find(run.kind)
    return {} if kind is None else kind.shown(run.arguments)


def _found(run_id: UUID) -> OperationRun:
    run = OperationRun.objects.filter(id=run_id).first()
    if run is None:
        raise NotFound(f"there is no job {run_id}")
    return run


def _kind_of(run: OperationRun) -> Kind:
    """One of an older version may be of a kind that is no more: whoever may operate the page may end it."""
    kind = kinds.find(run.kind)
    if kind is not None:
        return kind
    return Kind(run.kind, run.kind, "", lambda _: {}, dict, lambda actor, _: require(actor, OPERATE, MAINTENANCE_PAGE))


def _check_key(key: object) -> None:
    if not isinstance(key, str) or len(key) > MOST_KEY or not key.isprintable():
        raise Invalid([Problem("key", f"must be a text of at most {MOST_KEY} characters without control characters")])


def _same(kind: Kind, arguments: Mapping[str, Any], key: str, slot: str) -> OperationRun | None:
    """Raises Conflict."""
    if key:
        run = OperationRun.objects.filter(key=key).first()
        if run is not None:
            if run.kind != kind.name or run.arguments != arguments:
                raise Conflict(f"the key was used for another job ({run.id})")
            return run
    if slot:
        run = OperationRun.objects.filter(slot=slot, state__in=[WAITING, RUNNING]).first()
        if run is not None:
            if run.arguments != arguments or key:
                raise Conflict(f"another job works at it ({run.id})")
            return run
    return None


def _begin_here(run_id: UUID) -> None:
    """In a thread of this process. Where it cannot be had, the leader finds the run without a worker and queues it."""
    thread = threading.Thread(target=_make_here, args=(run_id,), name="job-here", daemon=True)
    try:
        thread.start()
    except RuntimeError as error:
        log.warning("a job could not begin here: %s", error)


def _make_here(run_id: UUID) -> None:
    runner.working.set(runner.Worker(runner.name_of("here")))
    try:
        runner.attempt(run_id)
    except (DatabaseError, InterfaceError) as error:
        log.warning("a job could not be worked at here (%s)", type(error).__name__)
    finally:
        connection.close()


def _request_id() -> str:
    now = trace.current()
    return "" if now is None else now.request_id
