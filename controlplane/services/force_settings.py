"""The live parameters of forces: which breakers of single processes a person holds, how, why, and until when."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from resilience.params import Mistake, Param, Section, register


def _(text: str) -> str:
    """Marks a text for the translators; the parameter tables keep it as it is."""
    return text


def _whole(values: Mapping[str, Any]) -> None:
    if missing := [name for name in ("to", "reason", "until") if name not in values]:
        raise Mistake(f"lacks {', '.join(missing)}")


FORCES: Final = register(
    Section(
        "forces",
        keyed=True,
        help=_("Circuit breakers of single processes that a person holds open or closed for a time; each ends by itself."),
        params=(
            Param(
                "to", "choice", "open", choices=("open", "closed"), help=_("open refuses every call, closed admits every one.")
            ),
            Param("reason", "text", None, min=1, max=500, help=_("Why.")),
            Param("author", "text", "", max=200, help=_("Who.")),
            Param("until", "moment", None, help=_("When it ends.")),
        ),
        check=_whole,
    )
)
