"""The live parameters of alerts: how often rules are evaluated, how often notices are repeated, how long rows are kept."""

from __future__ import annotations

from typing import Any, Final

from resilience import config
from resilience.params import Param, Section, register

# The least time between two evaluations, and their pace by default: with a `for` of 10 s and a lease of 10 s a fault is told
# within 30 s even if the leader dies just then.
INTERVAL_S: Final = 5.0


def _(text: str) -> str:
    """Marks a text for the translators of the pages that show it."""
    return text


ALERTS: Final = register(
    Section(
        "alerts",
        keyed=False,
        help=_("How rules are evaluated and notices sent. Rules and handlers themselves stand on the page of alerts."),
        params=(
            Param(
                "interval_s",
                "float",
                INTERVAL_S,
                min=INTERVAL_S,
                max=60,
                help=_("Seconds between two evaluations. More than 5 delays every notice by as much."),
            ),
            Param(
                "repeat_s",
                "float",
                14_400.0,
                min=60,
                max=604_800,
                help=_("Seconds after which an alert that still fires is told again, where its rule says nothing else."),
            ),
            Param(
                "timeout_s",
                "float",
                5.0,
                min=0.5,
                max=30,
                help=_("Seconds that one attempt of a webhook or an e-mail may take."),
            ),
            Param("keep_days", "int", 90, min=1, max=3_650, help=_("Days that resolved incidents and deliveries are kept.")),
        ),
    )
)


def current() -> dict[str, Any]:
    """Every parameter, as this process has it now."""
    return {**ALERTS.defaults(), **config.current().section(ALERTS.name)}
