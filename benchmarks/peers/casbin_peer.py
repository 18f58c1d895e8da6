"""Casbin (pycasbin): roles and permission groups as g-links, one p-rule a line, the cheap half of the matcher first."""

from __future__ import annotations

from benchmarks.peers.w1_side import W1Side
from benchmarks.workloads.world import ref

MODEL = """
[request_definition]
r = sub, act
[policy_definition]
p = sub, act
[role_definition]
g = _, _
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = keyMatch(r.act, p.act) && g(r.sub, p.sub)
"""


class Casbin(W1Side):
    package = "pycasbin"

    def build(self) -> None:
        import casbin  # noqa: PLC0415 - installed for this run alone
        from casbin.model import Model  # noqa: PLC0415

        model = Model()
        model.load_model_from_text(MODEL)
        self._enforcer = casbin.Enforcer(model)
        world = self.world
        rules = [[role.name, line.pattern] for role in world.model.roles for line in role.lines]
        rules += [[group.name, code] for group in world.model.groups for code in group.patterns]
        links = [[ref(n), role] for n, held in enumerate(world.held) for role in held]
        links += [[role.name, group] for role in world.model.roles for group in role.groups]
        self._enforcer.enable_auto_build_role_links(False)
        self._enforcer.add_policies(rules)
        self._enforcer.add_named_grouping_policies("g", links)
        self._enforcer.build_role_links()

    def check(self, subject: str, code: str) -> bool:
        return bool(self._enforcer.enforce(subject, code))
