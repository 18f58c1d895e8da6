"""The section of the live configuration that the decision side reads, each parameter declared once."""

from __future__ import annotations

from typing import Final

from resilience.params import Param, Section, register


def _(text: str) -> str:
    """Marks a text for the translators of whatever shows it."""
    return text


INVALIDATION: Final = ("auto", "aggressive", "conservative")

CACHE: Final = register(
    Section(
        "cache",
        keyed=False,
        help=_("The caches of decisions. Nothing here can make an answer older than its bound."),
        params=(
            Param(
                "invalidation",
                "choice",
                "auto",
                choices=INVALIDATION,
                help=_(
                    "How news of changes is taken: aggressive applies each at once, conservative gathers them into one look "
                    "at the changelog, auto is aggressive until they flood."
                ),
            ),
        ),
    )
)

SINKS: Final = ("off", "file", "stdout", "redis")

DECISION_LOG: Final = register(
    Section(
        "decision_log",
        keyed=False,
        help=_("The log of decisions: what was asked and answered. It never holds up a check and never changes an answer."),
        params=(
            Param(
                "sink",
                "choice",
                "off",
                choices=SINKS,
                help=_("Where it goes: nowhere, the file DECISION_LOG_FILE, standard output, or a stream of REDIS_URL's server."),
            ),
            Param("sample_ratio", "float", 1.0, min=0, max=1, help=_("Share of the decisions that is kept.")),
            Param("always_denied", "bool", True, help=_("Keep every denial, whatever the share.")),
            Param(
                "attributes",
                "bool",
                True,
                help=_("Keep context and properties, which a replay needs. Off: decisions that had some cannot be replayed."),
            ),
            Param("hash_subjects", "bool", False, help=_("Write a keyed hash in place of each subject's id.")),
            Param("hash_resources", "bool", False, help=_("Write a keyed hash in place of each resource's id.")),
            Param(
                "redact",
                "texts",
                ("password", "secret", "token", "authorization", "cookie", "api_key"),
                help=_("Names in context and properties, at any depth and in any case, whose values are never written."),
            ),
            Param("max_file_mb", "int", 100, min=1, max=100_000, help=_("MiB a file may hold before it is turned over.")),
            Param("kept_files", "int", 5, min=1, max=1_000, help=_("Files kept that were turned over.")),
            Param("max_stream_lines", "int", 100_000, min=1, max=10_000_000, help=_("About so many lines stay in the stream.")),
        ),
    )
)

HISTORY: Final = register(
    Section(
        "history",
        keyed=False,
        help=_("The history of rows, from which decisions as of a past time are answered."),
        params=(
            Param(
                "keep_hours",
                "int",
                168,
                min=1,
                max=87_600,
                help=_("Hours that can be looked back, at least. What is older is removed bit by bit."),
            ),
        ),
    )
)
