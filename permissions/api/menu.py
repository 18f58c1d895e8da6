"""/api/v1/menu/: the permissions a subject holds, as the tree that their menu paths make."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rest_framework.request import Request as HttpRequest
from rest_framework.response import Response

from permissions import pdp
from permissions.api.check import DecisionView, allow_asking
from permissions.api.openapi import Operation, parameter, ref
from permissions.api.problems import BadRequest
from permissions.models import Permission


@dataclass(slots=True)
class Node:
    """One entry of the menu; `name` is its own part of the path."""

    name: str
    path: str
    permissions: list[str] = field(default_factory=list)
    children: dict[str, Node] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "path": self.path,
            "permissions": self.permissions,
            "children": [child.to_dict() for child in self.children.values()],
        }


class MenuView(DecisionView):
    def parameters_of(self, method: str) -> tuple[str, ...]:
        return ("subject", "resource")

    def get(self, request: HttpRequest) -> Response:
        subject = self.query.get("subject") or self.asker.subject
        if subject is None:
            raise BadRequest("is needed: this key acts as nobody whose menu it could be", "subject")
        resource = self.query.get("resource") or None
        entries = Permission.objects.filter(realm__name=self.asker.realm).exclude(menu="")
        rows = list(entries.order_by("menu", "code").values_list("menu", "code"))
        questions = [pdp.question(subject, code, resource, asserted="ignore") for _, code in rows]
        allow_asking(self.asker, questions or [pdp.question(subject, "any:any", resource)])
        token, full = self.token_in()
        decisions = pdp.decide_many(questions, realm=self.asker.realm, token=token, full=full, superuser=pdp.wire_superuser())
        menu = tree([row for row, decision in zip(rows, decisions, strict=True) if decision])
        revision = decisions[0].revision if decisions else 0
        headers = self.token_headers(revision) if decisions else {}
        return Response({"subject": subject, "resource": resource, "revision": revision, "menu": menu}, headers=headers)

    def operations(self) -> dict[str, Operation]:
        about = "Permissions without a menu path are left out, and so are entries below which nothing is allowed."
        return {
            "GET": Operation(
                "menu",
                "The caller's menu",
                "decisions",
                ref("Menu"),
                about=about,
                checks=True,
                parameters=(
                    parameter("subject", "Whose menu; the caller's own where it is left out.", {"type": "string"}),
                    parameter("resource", "At which resource; the realm where it is left out.", {"type": "string"}),
                ),
            )
        }


def tree(rows: list[tuple[str, str]]) -> list[dict[str, Any]]:
    """(menu path, code) → nested entries, in the order of the rows."""
    root = Node("", "")
    for menu, code in rows:
        node = root
        for part in filter(None, (part.strip() for part in menu.split("/"))):
            path = f"{node.path}/{part}" if node.path else part
            node = node.children.setdefault(part, Node(part, path))
        if node is not root:
            node.permissions.append(code)
    return root.to_dict()["children"]  # type: ignore[no-any-return]  # the key holds a list of nodes
