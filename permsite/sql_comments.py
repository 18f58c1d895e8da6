"""Trace ids in statements, as comments: what the database's own log and views show leads to the request that asked.

Off by default: a text that differs with each request is prepared anew each time, where somebody has turned on server-side
preparation. `sampled` adds them to traces that somebody keeps, `all` to every request.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

from resilience import trace

MODES: Final = ("off", "sampled", "all")
Execute = Callable[[Any, Any, bool, dict[str, Any]], Any]


class Comments:
    """An execute wrapper of Django's. Only the ids are written: 32 and 16 hex digits, checked when they came in or made here."""

    def __init__(self, *, only_sampled: bool) -> None:
        self._only_sampled = only_sampled

    def __call__(self, execute: Execute, sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
        now = trace.current()
        if now is None or not isinstance(sql, str) or not sql or (self._only_sampled and not now.is_sampled):
            return execute(sql, params, many, context)
        return execute(f"{sql} /* trace_id={now.trace_id} span_id={now.span_id} */", params, many, context)


def install(mode: str) -> None:
    """For every connection that is made from now on, and once for each."""
    if mode == "off":
        return
    wrapper = Comments(only_sampled=mode == "sampled")

    def made(sender: object, connection: BaseDatabaseWrapper, **_given: Any) -> None:
        if not any(isinstance(one, Comments) for one in connection.execute_wrappers):
            connection.execute_wrappers.append(wrapper)

    connection_created.connect(made, weak=False, dispatch_uid="permsite.sql_comments")
