"""Hooks of the kit's control where rows are the truth: its changes of the configuration, and the record of what people did."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from controlplane.services.config import Stale, active, section_change, values_of
from controlplane.services.rights import control_realm
from permissions.writing import Actor, run_write

ATTEMPTS: Final = 3


def section_edit(section: str, edit: Callable[[Mapping[str, Any]], Mapping[str, Any]], *, actor: str, reason: str) -> None:
    """`edit` gives the new values for the present ones. Two edits at once: the later one is applied to what the first left.

    Rights were asked by whoever calls the control; `actor` is who asked it.
    """
    for attempt in range(1, ATTEMPTS + 1):
        now = active()
        try:
            section_change(
                actor=_operator(actor),
                section=section,
                values=dict(edit(values_of(section, now))),
                expected=0 if now is None else now.version,
                reason=reason,
            )
            return
        except Stale:
            if attempt == ATTEMPTS:
                raise


def action_record(*, action: str, target: str, actor: str, reason: str, outcome: str, detail: Mapping[str, Any]) -> None:
    """One entry in the audit of CONTROL_REALM. What it raises stops the action: nothing happens unrecorded."""
    run_write(
        control_realm(),
        _operator(actor),
        reason,
        lambda write: write.record(f"control_{action}", "control", target, None, {"outcome": outcome, **detail}),
    )


def _operator(name: str) -> Actor:
    return Actor("system", name, administrator=True)
