"""What the live configuration says of the decision log, read once a version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from permissions.params import DECISION_LOG


@dataclass(frozen=True, slots=True)
class Options:
    """As the section `decision_log` names them; `redact` in lower case, since names of properties are compared so."""

    sink: str
    sample_ratio: float
    always_denied: bool
    attributes: bool
    hash_subjects: bool
    hash_resources: bool
    redact: frozenset[str]
    max_file_mb: int
    kept_files: int
    max_stream_lines: int


_DEFAULTS: Final = DECISION_LOG.defaults()


def options_of(values: Mapping[str, Any]) -> Options:
    given = {**_DEFAULTS, **values}
    given["redact"] = frozenset(name.lower() for name in given["redact"])
    return Options(**given)


OFF: Final = options_of({"sink": "off"})
