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
