"""`casbin_given.json` → bundles and questions, for the examples that our law can express; a refusal for the others.

How an example is said in our words:
- A name of Casbin may be a person and a role at once, and both may be asked about. So each is a principal, and one that others
  are linked to is a team: a team may be the subject of a check.
- A rule is a direct allow or deny of its principal. With plain comparison its object is the scope, `data:<object>`, and its
  action the code `data:<action>`. With keyMatch and regexMatch, the object is a path, the rule a condition on the path, and the
  alternatives of the action are codes.
- In a domain the links of a name hold there alone: the name has a team in each domain, itself a member, and the object's scope
  stands below its domain.
"""

from __future__ import annotations

import copy
import json
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FACTS = Path(__file__).resolve().parents[1] / "facts/casbin_given.json"

ALLOW = "some(where (p.eft == allow))"
DENY_OVERRIDES = f"{ALLOW} && !some(where (p.eft == deny))"
NOT_DENY = "!some(where (p.eft == deny))"
PRIORITY = "priority(p.eft) || deny"
PLAIN = "r.sub == p.sub && r.obj == p.obj && r.act == p.act"
ROLES = "g(r.sub, p.sub) && r.obj == p.obj && r.act == p.act"
DOMAINS = "g(r.sub, p.sub, r.dom) && r.dom == p.dom && r.obj == p.obj && r.act == p.act"
PATHS = "r.sub == p.sub && keyMatch(r.obj, p.obj) && regexMatch(r.act, p.act)"


class NotOurLawError(ValueError):
    """The example contradicts our law, or needs what the file does not hold. The message says which and why."""


def examples() -> list[dict[str, Any]]:
    return json.loads(FACTS.read_text(encoding="utf-8"))["examples"]


def refuse_foreign_law(example: dict[str, Any]) -> None:
    name, effect, matcher = example["name"], example["effect"], example["matcher"]
    if effect == PRIORITY:
        raise NotOurLawError(
            f"{name}: the first rule that matches decides ({effect}); here the order of rules never decides, and any deny wins"
        )
    if effect == NOT_DENY:
        raise NotOurLawError(f"{name}: what nobody denies is allowed ({effect}); here what nobody allows is denied")
    if effect not in (ALLOW, DENY_OVERRIDES):
        raise NotOurLawError(f"{name}: the effect {effect} is none that is known here")
    if matcher not in (PLAIN, ROLES, DOMAINS, PATHS):
        raise NotOurLawError(f"{name}: the matcher {matcher} is none that is known here")


def bundle_of(example: dict[str, Any]) -> dict[str, Any]:
    refuse_foreign_law(example)
    links = example["links"].get("g", [])
    with_domains = example["matcher"] == DOMAINS
    members: dict[str, list[str]] = defaultdict(list)
    resources: dict[str, dict[str, str]] = {}
    for rule in example["rules"] if with_domains else ():
        resources[f"domain:{rule[1]}"] = {"id": f"domain:{rule[1]}"}
        resources[f"data:{rule[1]}/{rule[2]}"] = {"id": f"data:{rule[1]}/{rule[2]}", "parent": f"domain:{rule[1]}"}
    if with_domains:
        for name, domain in sorted({(r[0], r[1]) for r in example["rules"]} | {(n, d) for a, b, d in links for n in (a, b)}):
            members[f"principal:{domain}/{name}"].append(f"principal:{name}")
        for name, role, domain in links:
            members[f"principal:{domain}/{role}"].append(f"principal:{domain}/{name}")
    else:
        for name, role in links:
            members[f"principal:{role}"].append(f"principal:{name}")
    teams = [{"id": team, "members": list(dict.fromkeys(of))} for team, of in members.items()]
    return {
        "version": 1,
        "teams": teams,
        "resources": list(resources.values()),
        "bindings": [binding for rule in example["rules"] for binding in _bindings(example, rule)],
    }


def _bindings(example: dict[str, Any], rule: list[str]) -> Iterator[dict[str, Any]]:
    values = dict(zip(example["rule_fields"].split(", "), rule, strict=True))
    effect = values.get("eft", "allow")
    if example["matcher"] == PATHS:
        for action in _alternatives(values["act"]):
            yield {"subject": f"principal:{values['sub']}", effect: [f"path:{action}"], "condition": _path(values["obj"])}
    elif example["matcher"] == DOMAINS:
        scope = f"data:{values['dom']}/{values['obj']}"
        yield {"subject": f"principal:{values['dom']}/{values['sub']}", effect: [f"data:{values['act']}"], "scope": scope}
    else:
        yield {"subject": f"principal:{values['sub']}", effect: [f"data:{values['act']}"], "scope": f"data:{values['obj']}"}


def _alternatives(expression: str) -> list[str]:
    """`GET` or `(GET)|(POST)`: words, and nothing that would need a regular expression."""
    words = [part.removeprefix("(").removesuffix(")") for part in expression.split("|")]
    if not all(re.fullmatch(r"[A-Za-z]+", word) for word in words):
        raise NotOurLawError(f"the action {expression} is a regular expression; an action here is a name")
    return words


def _path(pattern: str) -> str:
    """keyMatch: a star ends the comparison, so what stands before it is a prefix."""
    before, star, _ = pattern.partition("*")
    return f"resource.id.startsWith('{before}')" if star else f"resource.id == '{pattern}'"


def question_of(example: dict[str, Any], request: list[str]) -> dict[str, str]:
    values = dict(zip(example["request_fields"].split(", "), request, strict=True))
    subject = f"principal:{values['sub']}"
    if example["matcher"] == PATHS:
        return {"subject": subject, "permission": f"path:{values['act']}", "resource": f"path:{values['obj']}"}
    place = f"{values['dom']}/{values['obj']}" if "dom" in values else values["obj"]
    return {"subject": subject, "permission": f"data:{values['act']}", "resource": f"data:{place}"}


def after(example: dict[str, Any], steps: list[Any]) -> dict[str, Any]:
    """The example once its administrator did `steps`."""
    changed = copy.deepcopy(example)
    for step, arguments in steps:
        if step != "delete_role":
            raise NotOurLawError(f"{example['name']}: the step {step} is none that is known here")
        [role] = arguments
        changed["rules"] = [rule for rule in changed["rules"] if rule[0] != role]
        changed["links"]["g"] = [link for link in changed["links"]["g"] if role not in link[:2]]
    return changed


def refuse_untold_rules(example: dict[str, Any], check: dict[str, Any]) -> None:
    """Upstream's tests add rules on the way; a check that needs them cannot be answered from the file."""
    place = example["request_fields"].split(", ").index("obj")
    rule_place = example["rule_fields"].split(", ").index("obj")
    named = {rule[rule_place] for rule in example["rules"]}
    if check["expect"] and example["matcher"] != PATHS and check["request"][place] not in named:
        raise NotOurLawError(
            f"{example['name']}: {', '.join(check['request'])} is expected to be allowed, yet no rule of the example names "
            f"{check['request'][place]}; what nobody allows is denied"
        )
