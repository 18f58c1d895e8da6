"""Numbers as the pages show them before a script runs: the same words as `format.js`. None is unknown, and a dash."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

UNKNOWN: Final = "–"
_BYTES: Final = ("B", "KiB", "MiB", "GiB", "TiB")


def _fixed(value: float, most: int) -> str:
    text = f"{value:,.{most}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text


def _short(value: float) -> str:
    size = abs(value)
    return _fixed(value, 2 if size < 1 else 1 if size < 100 else 0)


def _bytes(value: float) -> str:
    unit = 0
    while abs(value) >= 1024 and unit < len(_BYTES) - 1:
        value /= 1024
        unit += 1
    return f"{_short(value)} {_BYTES[unit]}"


def _seconds(value: float) -> str:
    size = abs(value)
    if size < 1:
        return f"{_short(value * 1000)} ms"
    if size < 120:
        return f"{_short(value)} s"
    if size < 7200:
        return f"{_short(value / 60)} min"
    return f"{_short(value / 3600)} h" if size < 172_800 else f"{_short(value / 86_400)} d"


def _percent(value: float) -> str:
    return f"{_fixed(value * 100, 1 if abs(value) < 0.1 or value > 0.99 else 0)}%"


_FORMATS: Final[Mapping[str, Callable[[float], str]]] = {
    "rate": lambda value: f"{_short(value)}/s",
    "percent": _percent,
    "ms": lambda value: f"{_short(value)} ms",
    "seconds": _seconds,
    "count": lambda value: _fixed(value, 0),
    "bytes": _bytes,
    "mb": lambda value: _bytes(value * 1_048_576),
}


def show(value: Any, form: str = "count") -> str:
    """`form`: rate, percent (of 1), ms, seconds, count, bytes, mb, text."""
    if value is None or value == "":
        return UNKNOWN
    if isinstance(value, bool):
        value = int(value)
    if form == "text" or not isinstance(value, int | float):
        return str(value)
    return _FORMATS.get(form, _FORMATS["count"])(value) if math.isfinite(value) else UNKNOWN


def clock(at: Any) -> str:
    """Epoch seconds as the time of day, UTC."""
    if isinstance(at, bool) or not isinstance(at, int | float) or not math.isfinite(at):
        return UNKNOWN
    try:
        return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S")
    except (OverflowError, ValueError, OSError):
        return UNKNOWN
