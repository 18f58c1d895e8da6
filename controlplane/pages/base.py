"""What a page of the control plane is: a name, who may see it, its snapshot, its parts that renew themselves, its actions.

A page is read without a script: the server draws it whole, and its actions are forms. A script renews the parts (`?part=name`
answers one of them alone) and feeds what moves from the live frames.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from django.http import HttpRequest, QueryDict

from controlplane.services import rights
from permissions.writing import Actor

REASON_FIELD = "change_reason"


@dataclass(slots=True)
class Look:
    """One person looking at one page. `query`: the filters, as they stand in the link; `request`: None for the API."""

    actor: Actor
    page: str
    query: QueryDict | Mapping[str, str]
    request: HttpRequest | None = None
    _known: dict[tuple[str, str], bool] = field(default_factory=dict)

    def may(self, code: str = rights.VIEW, page: str = "") -> bool:
        """Asked once a look. Raises Unavailable while no decision can be given, but for an administrator."""
        key = (code, page or self.page)
        if key not in self._known:
            self._known[key] = rights.may(self.actor, code, rights.on_page(key[1]))
        return self._known[key]

    @property
    def request_id(self) -> str:
        """Of the request behind this look, for the audit."""
        return str(getattr(self.request, "request_id", "")) if self.request is not None else ""

    def get(self, name: str, most: int = 200) -> str:
        """A filter, trimmed and cut."""
        return str(self.query.get(name, "")).strip()[:most]


# What an action does with a form's fields; it answers what to tell. Raises Refused: nothing was done.
Act = Callable[[Look, Mapping[str, str], str], str]
# A question too long for a link: it changes nothing, and gives what the page is drawn with besides.
Ask = Callable[[Look, Mapping[str, str]], dict[str, Any]]


class Page:
    """Subclasses name themselves; `name` is the last part of the address and of the resource `permsite.control:<name>`."""

    name: ClassVar[str]
    title: ClassVar[Any]
    about: ClassVar[Any] = ""  # one sentence, on the index
    icon: ClassVar[str] = "monitoring"  # of Unfold's side bar (Material Symbols)
    view_code: ClassVar[str] = rights.VIEW
    # Part -> its template, drawn with the same context as the page.
    parts: ClassVar[Mapping[str, str]] = {}
    # Events whose names begin so renew the parts at once; else they are renewed every `renew_s` seconds, 0: never.
    topics: ClassVar[tuple[str, ...]] = ()
    renew_s: ClassVar[float] = 0.0
    # What the page's own scripts want from the socket besides frames: `events`, `nodes`.
    streams: ClassVar[tuple[str, ...]] = ()
    # ES modules below static/, besides controlplane/live.js.
    scripts: ClassVar[tuple[str, ...]] = ()
    # Field `action` of a form -> what it does.
    actions: ClassVar[Mapping[str, Act]] = {}
    # Field `action` of a form that only asks -> what it answers.
    asks: ClassVar[Mapping[str, Ask]] = {}

    @property
    def template(self) -> str:
        return f"controlplane/pages/{self.name}.html"

    def opens(self, look: Look) -> bool:
        """Whether the page may be seen at all."""
        return look.may(self.view_code)

    def snapshot(self, look: Look) -> dict[str, Any]:
        """What the page shows, as JSON: first paint, polling, and `GET /api/v1/system/snapshot/<name>`."""
        return {}

    def context(self, look: Look) -> dict[str, Any]:
        """More for the template than the snapshot, which it has as `data`: forms, choices, links."""
        return {}
