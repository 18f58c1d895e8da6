"""`scopes_given.json` → bundles and questions.

A scope is a resource, a group is a team, a role and a binding are what they are here. A time window whose clock is the request's
context becomes a condition: the answers are asked for instants of 2023, at which no row of ours was in force.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from pathlib import Path
from typing import Any

FACTS = Path(__file__).resolve().parents[1] / "facts/scopes_given.json"
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def scenarios() -> list[dict[str, Any]]:
    return json.loads(FACTS.read_text(encoding="utf-8"))["scenarios"]


def bundle_of(scenario: dict[str, Any]) -> dict[str, Any]:
    return {
        "version": 1,
        "roles": [{"name": name, "permissions": codes} for name, codes in scenario["roles"].items()],
        "teams": [{"id": team, "members": members} for team, members in scenario["groups"].items()],
        "resources": [{"id": ref, **({"parent": parent} if parent else {})} for ref, parent in scenario["scopes"].items()],
        "bindings": [_binding(line) for line in scenario["bindings"]],
    }


def _binding(line: dict[str, Any]) -> dict[str, Any]:
    binding = {key: line[key] for key in ("subject", "role", "scope")}
    unknown = set(line) - {*binding, "condition"}
    assert not unknown, f"the scenario says {unknown}, which would be lost"
    return {**binding, "condition": _condition(line["condition"])} if line.get("condition") else binding


def _condition(given: dict[str, str]) -> str:
    assert given["kind"] == "time_window", given
    start = dt.datetime.fromisoformat(given["start"])
    number, unit = re.fullmatch(r"(\d+)([smhd])", given["duration"]).groups()  # type: ignore[union-attr]  # else the test fails here
    end = start + dt.timedelta(**{UNITS[unit]: int(number)})
    now = f"timestamp(context.{given['now_from']})"
    return f"{now} >= timestamp('{_text(start)}') && {now} < timestamp('{_text(end)}')"


def _text(moment: dt.datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
