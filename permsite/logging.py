"""JSON log lines with the ids of request and trace; colours on a terminal; what looks like a secret never leaves the process."""

from __future__ import annotations

import datetime as dt
import json
import logging
import os
import re
import socket
from typing import Any, Final

from resilience import trace

HIDDEN: Final = "[hidden]"
# An API key, a bearer credential, the password part of a URL, and `name=value` or `"name": "value"` of the usual names.
_SECRETS: Final = (
    (re.compile(r"\bps_[A-Za-z0-9]{8}_[A-Za-z0-9_-]{20,}"), HIDDEN),
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}"), rf"\1 {HIDDEN}"),
    (re.compile(r"(?<=://)([^\s/:@]*):[^\s/@]+@"), rf"\1:{HIDDEN}@"),
    (
        re.compile(
            r"(?i)([\"']?\b(?:password|passwd|secret|secret_key|audit_key|api_key|authorization|cookie|sessionid|csrftoken|token)\b"
            r"[\"']?\s*[:=]\s*)(\"[^\"]*\"|'[^']*'|[^\s,;&}]+)"
        ),
        rf"\1{HIDDEN}",
    ),
)
# What Django finds suspicious in a request, such as a Host that is not ours: to it an error with a whole trace, by which any
# scanner would fill the log.
_OF_CLIENTS: Final = "django.security."
_REFUSED: Final = "django.request"
_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {
    "message",
    "asctime",
    "request",
    "color_message",
}
_COLOURS: Final = {"DEBUG": "\033[2m", "INFO": "\033[32m", "WARNING": "\033[33m", "ERROR": "\033[31m", "CRITICAL": "\033[1;31m"}


_HOST: Final = socket.gethostname()


def instance() -> str:
    """Host and process: two containers may both run as process 1."""
    return f"{_HOST}:{os.getpid()}"


def without_secrets(text: str) -> str:
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    return text


class SecretsFilter(logging.Filter):
    """Renders the message once, without secrets. A filter, because a formatter added elsewhere would print the original."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name.startswith(_OF_CLIENTS) and record.levelno > logging.WARNING:
            record.levelno, record.levelname = logging.WARNING, "WARNING"
            record.exc_info = record.exc_text = None
        elif record.name == _REFUSED and record.levelno <= logging.WARNING:
            # Of a page that somebody may not open, or that is none: the line says which; a trace says nothing more.
            record.exc_info = record.exc_text = None
        record.msg = without_secrets(record.getMessage())
        record.args = None
        return True


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    return {
        name: without_secrets(value) if isinstance(value, str) else value
        for name, value in vars(record).items()
        if name not in _STANDARD and not name.startswith("_")
    }


class JSONFormatter(logging.Formatter):
    """One object a line: time (UTC), level, logger, event, instance, request_id, trace_id, span_id, realm, actor, then what the
    call passed as `extra`: its own realm or actor goes before the request's."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            "instance": instance(),
        }
        extra = {name: value for name, value in _extra(record).items() if name not in line}
        # A caller chooses a request id and an account's name: what looks like a secret in them is hidden as elsewhere.
        line |= {name: without_secrets(value) for name, value in trace.fields().items()} | extra
        if record.exc_info:
            line["exception"] = without_secrets(self.formatException(record.exc_info))
        return json.dumps(line, default=str, ensure_ascii=False)


class ConsoleFormatter(logging.Formatter):
    """The same for people: time, level in colour, event, request id."""

    def format(self, record: logging.LogRecord) -> str:
        time = dt.datetime.fromtimestamp(record.created, dt.UTC).strftime("%H:%M:%S")
        colour = _COLOURS.get(record.levelname, "")
        known = trace.current()
        found = f" \033[2m[{known.request_id}]\033[0m" if known is not None else ""
        text = f"{time} {colour}{record.levelname.lower():<7}\033[0m {record.getMessage()}{found}"
        if record.exc_info:
            text += "\n" + without_secrets(self.formatException(record.exc_info))
        return text


def configuration(*, level: str, on_terminal: bool) -> dict[str, Any]:
    formatter = "permsite.logging.ConsoleFormatter" if on_terminal else "permsite.logging.JSONFormatter"
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"secrets": {"()": "permsite.logging.SecretsFilter"}},
        "formatters": {"line": {"()": formatter}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line", "filters": ["secrets"]}},
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {
            # Django would add handlers of its own (mail to ADMINS, a second console line while DEBUG).
            "django": {"handlers": [], "level": level, "propagate": True},
            "django.server": {"handlers": [], "propagate": True},
            # Its start and end are said by the commands themselves.
            "uvicorn": {"handlers": [], "level": "WARNING", "propagate": True},
            "uvicorn.access": {"handlers": [], "level": "WARNING", "propagate": True},
        },
    }
