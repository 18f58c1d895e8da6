"""Cedar (cedarpy): policies and entities parsed once; a policy a role, permission groups and types as groups of actions."""

from __future__ import annotations

import json
from typing import Any

from benchmarks.peers.w1_side import W1Side
from benchmarks.workloads.world import ref


class Cedar(W1Side):
    package = "cedarpy"

    def build(self) -> None:
        import cedarpy  # noqa: PLC0415 - installed for this run alone

        self._ask = cedarpy.is_authorized
        model = self.world.model
        parents: dict[str, list[str]] = {fact.code: [f"{fact.code.partition(':')[0]}:*"] for fact in model.permissions}
        for group in model.groups:
            for code in group.patterns:
                parents[code].append(group.name)
        policies = []
        for role in model.roles:
            actions = [line.pattern for line in role.lines] + list(role.groups)
            listed = ", ".join(f'Action::"{action}"' for action in actions)
            policies.append(f'permit(principal in Role::"{role.name}", action in [{listed}], resource);')
        entities = [_entity("Action", code, "Action", above) for code, above in parents.items()]
        entities += [_entity("Action", name, "Action", []) for name in sorted({p for above in parents.values() for p in above})]
        entities += [_entity("Role", role.name, "Role", []) for role in model.roles]
        entities += [_entity("User", ref(n), "Role", list(held)) for n, held in enumerate(self.world.held)]
        self._policies = cedarpy.PolicySet.from_str("\n".join(policies))
        self._entities = cedarpy.Entities.from_json_str(json.dumps(entities))

    def check(self, subject: str, code: str) -> bool:
        request = {"principal": f'User::"{subject}"', "action": f'Action::"{code}"', "resource": 'Realm::"w1"', "context": {}}
        return bool(self._ask(request, self._policies, self._entities).allowed)


def _entity(kind: str, ident: str, parent_kind: str, parents: list[str]) -> dict[str, Any]:
    return {
        "uid": {"type": kind, "id": ident},
        "attrs": {},
        "parents": [{"type": parent_kind, "id": parent} for parent in parents],
    }
