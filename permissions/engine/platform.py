"""The platform's own codes: registered in every realm, reached only by patterns that begin with `permsite.`.

They are neither exported nor pruned. Source: semantics, "Handing out" and "Who may ask".
"""

from __future__ import annotations

from typing import Final

PREFIX: Final = "permsite."

MANAGED: Final = (
    "binding",
    "realm",
    "role",
    "group",
    "permission",
    "subject",
    "team",
    "resource",
    "key",
    "config",
    "audit",
    "policy",
)
CODES: Final = frozenset(
    {f"{PREFIX}{noun}:{verb}" for noun in MANAGED for verb in ("create", "change", "delete", "view")}
    | {f"{PREFIX}control:{verb}" for verb in ("view", "operate", "approve", "export")}
    | {f"{PREFIX}decision:ask", f"{PREFIX}realm:escalate"}
)
