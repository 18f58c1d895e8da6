"""Hooks of the kit's control where rows are the truth: its changes of the configuration, and the record of what people did."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

from controlplane.services.config import Stale, active, values_of, write_section
from controlplane.services.rights import control_realm
from permissions.errors import Invalid, Problem
from permissions.writing import Actor, run_write
from resilience import params

ATTEMPTS: Final = 3


@dataclass(frozen=True, slots=True)
class Acting:
    """Who is behind the next actions of the control, in which request; `expected`: the version of the configuration that was
    looked at, None for whichever is in force."""

    actor: Actor
    request_id: str = ""
    expected: int | None = None


_acting: ContextVar[Acting | None] = ContextVar("controlplane_acting", default=None)


@contextmanager
def acting(actor: Actor, *, request_id: str = "", expected: int | None = None) -> Iterator[None]:
    """The kit's control knows people by name alone; what is done inside is audited as done by `actor`."""
    outer = _acting.set(Acting(actor, request_id, expected))
    try:
        yield
    finally:
        _acting.reset(outer)


def section_edit(section: str, edit: Callable[[Mapping[str, Any]], Mapping[str, Any]], *, actor: str, reason: str) -> None:
    """`edit` gives the new values for the present ones. Two edits at once: the later one is applied to what the first left.

    Rights were asked by whoever calls the control; `actor` is who asked. Raises Invalid, and Stale where a version was expected.
    """
    behind = _acting.get()
    looked_at = None if behind is None else behind.expected
    for attempt in range(1, ATTEMPTS + 1):
        now = active()
        version = 0 if now is None else now.version
        try:
            write_section(
                actor=_operator(actor),
                section=section,
                typed=_typed(section, edit(values_of(section, now))),
                expected=version if looked_at is None else looked_at,
                reason=reason,
                request_id="" if behind is None else behind.request_id,
                action="config_change",
            )
            return
        except Stale:
            if looked_at is not None or attempt == ATTEMPTS:
                raise


def action_record(*, action: str, target: str, actor: str, reason: str, outcome: str, detail: Mapping[str, Any]) -> None:
    """One entry in the audit of CONTROL_REALM. What it raises stops the action: nothing happens unrecorded."""
    behind = _acting.get()
    run_write(
        control_realm(),
        _operator(actor),
        reason,
        lambda write: write.record(f"control_{action}", "control", target, None, {"outcome": outcome, **detail}),
        request_id="" if behind is None else behind.request_id,
    )


def _typed(section: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON keeps them. Raises Invalid with every mistake."""
    wrong = params.problems(section, values)
    if wrong:
        raise Invalid([Problem(path, told) for path, told in wrong])
    typed: dict[str, Any] = params.plain(params.validate(section, values))
    return typed


def _operator(name: str) -> Actor:
    behind = _acting.get()
    if behind is not None and behind.actor.name == name:
        return behind.actor
    return Actor("system", name, administrator=True)
