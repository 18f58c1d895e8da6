"""The excerpts of real catalogues, and what both they and a whole one are held to (`scripts/check-catalogues FOLDER`)."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from permissions.bundle.specs import Bundle
from permissions.importers import FORMATS
from tests.permissions.importers import oracle

EXCERPTS = Path(__file__).resolve().parents[2] / "data/catalogues"

# role → (allowed, denied)
Answers = dict[str, tuple[frozenset[str], frozenset[str]]]


def excerpt(name: str) -> Any:
    return json.loads((EXCERPTS / f"{name}.json").read_text(encoding="utf-8"))


def load(name: str, data: Any, actions: Any, notes: Counter[str] | None = None) -> Bundle:
    return FORMATS[name](data, catalogue=actions if name == "aws" else None, notes=notes)


def wanted(name: str, data: Any, actions: Any) -> Answers:
    """What each role gives by the source's rules, in the codes of the law (in lower case where the source ignores case)."""
    if name == "aws":
        return oracle.aws(data, actions)
    answers = {"azure": oracle.azure, "gcp": oracle.gcp, "kubernetes": oracle.kubernetes}[name](data)
    code = CODES[name]
    return {role: (frozenset(map(code, allow)), frozenset(map(code, deny))) for role, (allow, deny) in answers.items()}


def differing(data: Any, ours: Answers, theirs: Answers) -> list[str]:
    """Roles that give something else than at the source. One with a condition may give less: what it guards is left out."""
    conditioned = {role["name"].strip() for role in data["roles"] if role.get("condition")}
    assert set(ours) == set(theirs)
    return [r for r in theirs if ours[r] != theirs[r] and not (r in conditioned and ours[r][0] <= theirs[r][0])]


def _azure_code(text: str) -> str:
    resource, _, action = text.replace("%", "%25").replace(":", "%3a").rpartition("/")
    return f"{resource}:{action}"


def _gcp_code(text: str) -> str:
    resource, _, verb = text.rpartition(".")
    return f"{resource}:{verb}"


def _kubernetes_code(text: str) -> str:
    what, at, name = text.partition("@")
    name, _, verb = name.rpartition(":")
    return f"{what}@{name.replace(':', '%3A')}:{verb}" if at else text


CODES = {"azure": _azure_code, "gcp": _gcp_code, "kubernetes": _kubernetes_code}


def given(name: str, bundle: Bundle) -> Answers:
    fold = str.lower if name in ("aws", "azure") else str
    return {r: (frozenset(map(fold, a)), frozenset(map(fold, d))) for r, (a, d) in oracle.given_by(bundle).items()}


def answer(name: str, ours: Answers, check: Any) -> bool:
    """Deny wins over every grant of the roles held."""
    roles, code, _ = check
    code = code.lower() if name in ("aws", "azure") else code
    return any(code in ours[role][0] for role in roles) and not any(code in ours[role][1] for role in roles)
