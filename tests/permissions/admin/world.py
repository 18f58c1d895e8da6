"""At the admin's desk: alice administers, bob manages one server, vera may look, charlie may nothing, root is break-glass."""

from __future__ import annotations

from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any

from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from permissions import pdp
from permissions.models import AuditEvent, Realm
from tests.worlds import apply

WORLD = """
version: 1
realm: default
permissions:
  - {code: "post:read", title: Read posts}
  - {code: "post:edit", requires: ["post:read"]}
  - {code: "post:purge", high_risk: true}
groups:
  - {name: content, permissions: ["post:read", "post:edit"]}
roles:
  - {name: administrator, permissions: ["*", "permsite.*:*"]}
  - {name: onlooker, permissions: ["permsite.*:view"]}
  - {name: reader, permissions: ["post:read"]}
  - {name: editor, inherits: [reader], groups: [content], exclude: ["post:purge"]}
  - {name: caretaker, permissions: ["post:read", "permsite.binding:*", "permsite.resource:*", "permsite.decision:ask"]}
  - {name: clerk, permissions: ["permsite.role:view", "permsite.subject:view"]}
subjects:
  - {id: "user:zed"}
teams:
  - {id: "team:care", members: ["user:bob"]}
resources:
  - {id: "server:7"}
  - {id: "channel:9", parent: "server:7"}
  - {id: "server:8"}
bindings:
  - {subject: "user:alice", role: administrator}
  - {subject: "user:vera", role: onlooker}
  - {subject: "team:care", role: caretaker, scope: "server:7"}
  - {subject: "user:bob", role: clerk}
  - {subject: "user:zed", role: reader, scope: "server:8"}
"""
OTHER = """
version: 1
realm: other
permissions: [{code: "far:away"}]
groups: [{name: abroad, permissions: ["far:*"]}]
roles: [{name: stranger, permissions: ["far:away"]}]
subjects: [{id: "user:yan"}]
teams: [{id: "team:abroad", members: ["user:yan"]}]
resources: [{id: "island:1"}]
bindings: [{subject: "user:yan", role: stranger, scope: "island:1"}]
"""
PEOPLE = ("alice", "bob", "vera", "charlie")


class _Fields(HTMLParser):
    """What a browser would send of the object's form: names and values, without template rows and buttons."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, Any] = {}
        self._depth = 0
        self._select = self._area = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "form":
            self._depth = 1 if (given.get("id") or "").endswith("_form") else 0
        name = given.get("name") or ""
        if not self._depth or "__prefix__" in name:
            return
        if tag == "input" and name and given.get("type") not in ("submit", "button"):
            if given.get("type") in ("checkbox", "radio") and "checked" not in given:
                return
            self.found[name] = given.get("value") or ("on" if given.get("type") == "checkbox" else "")
        elif tag == "textarea":
            self._area = name
            self.found[name] = ""
        elif tag == "select":
            self._select = name
            self.found.setdefault(name, "")
        elif tag == "option" and self._select and "selected" in given:
            self.found[self._select] = given.get("value") or ""

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._depth = 0
        elif tag == "select":
            self._select = ""
        elif tag == "textarea":
            self._area = ""

    def handle_data(self, data: str) -> None:
        if self._area:
            # A browser drops the line break after the tag.
            self.found[self._area] += data if self.found[self._area] else data.removeprefix("\r\n").removeprefix("\n")


def fields_of(response: Any) -> dict[str, Any]:
    parser = _Fields()
    parser.feed(response.content.decode())
    return parser.found


@dataclass
class Desk:
    """One person's browser."""

    client: Client

    def get(self, name: str, *args: Any, query: str = "") -> Any:
        return self.client.get(reverse(f"admin:{name}", args=args) + query)

    def post(self, name: str, *args: Any, data: dict[str, Any] | None = None, query: str = "") -> Any:
        return self.client.post(reverse(f"admin:{name}", args=args) + query, data or {})

    def fill(self, url: str, /, *args: Any, **values: Any) -> Any:
        """Opens a form and sends it back with `values` put in; None leaves a field out."""
        page = self.get(url, *args)
        assert page.status_code == 200, page.status_code
        data = {**fields_of(page), **values}
        return self.post(url, *args, data={key: value for key, value in data.items() if value is not None})

    def act(self, name: str, action: str, *keys: int, **values: Any) -> Any:
        """A bulk action of a list, confirmed."""
        data = {"action": action, "_selected_action": list(keys), "apply": "yes", **values}
        return self.post(f"permissions_{name}_changelist", data=data)


def desk(who: str | None) -> Desk:
    client = Client(raise_request_exception=True)
    if who is not None:
        client.force_login(User.objects.get(username=who))
    return Desk(client)


def build() -> None:
    pdp.reset()
    apply(WORLD)
    apply(OTHER)
    for name in PEOPLE:
        User.objects.create_user(name, password="pw", is_staff=True)
    User.objects.create_superuser("root", password="pw")
    User.objects.create_user("zoe", password="pw")


def errors_of(response: Any) -> str:
    """Everything a refused form says, in one text."""
    assert response.status_code == 200, (response.status_code, response.headers.get("Location"))
    adminform = response.context["adminform"]
    parts = [str(adminform.form.errors), str(adminform.form.non_field_errors())]
    for inline in response.context["inline_admin_formsets"]:
        parts += [str(inline.formset.errors), str(inline.formset.non_form_errors())]
    return " ".join(parts)


def last_entry(realm: str = "default") -> AuditEvent:
    return AuditEvent.objects.filter(realm_name=realm).latest("seq")


def revision(realm: str = "default") -> int:
    return Realm.objects.get(name=realm).rev
