"""The audit: who changed what in a realm, filtered, with each difference; the head of its chain, and the last verification."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final
from urllib.parse import urlencode

from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from controlplane.jobs import service as jobs
from controlplane.pages.base import Look, Page
from controlplane.pages.realm_choice import here, offered, realm_of, request_id_of
from controlplane.services import audit as service
from controlplane.services.realms import AUDIT_VIEW, realm_named, require_in
from controlplane.services.rights import EXPORT, MAINTENANCE_PAGE, OPERATE, on_page
from permissions import pdp
from permissions.errors import Refused

TITLES: Final = {
    "actor": gettext_lazy("Actor"),
    "subject": gettext_lazy("Subject"),
    "object": gettext_lazy("Object"),
    "action": gettext_lazy("Action"),
    "request_id": gettext_lazy("Request id"),
    "revision": gettext_lazy("Revision"),
    "since": gettext_lazy("From (UTC)"),
    "until": gettext_lazy("Until (UTC)"),
}
EXAMPLES: Final = {"actor": "user:alice", "subject": "user:bob", "object": "role editor", "action": "role.change"}


def wanted_in(look: Look) -> service.Filter:
    return service.filter_of(lambda name: look.get(name, service.MAX_TEXT + 1))


def verify(look: Look, fields: Mapping[str, str], reason: str) -> str:
    """A job: a long chain takes longer than a page."""
    realm = realm_named(look.actor, fields.get("realm", ""))
    require_in(look.actor, AUDIT_VIEW, realm.name)
    jobs.start("verify_audit", actor=look.actor, reason=reason, args={"realm": realm.name}, request_id=request_id_of(look))
    return _("The chain is being verified; this page shows the outcome, Maintenance & jobs how far it is.")


class Audit(Page):
    name = "audit"
    title = gettext_lazy("Audit")
    about = gettext_lazy("Who changed what, with what was before and after")
    icon = "history"
    parts: ClassVar = {"entries": "controlplane/pages/audit_entries.html"}
    topics = ("audit.", "job.")
    renew_s = 5.0
    actions: ClassVar = {"verify": verify}

    def opens(self, look: Look) -> bool:
        """Who may see the audit of the realm shown may see this page; the page's own code opens it without any entry."""
        if look.may():
            return True
        try:
            realm = realm_named(look.actor, realm_of(look))
            require_in(look.actor, AUDIT_VIEW, realm.name)
        except (Refused, pdp.InvalidRequestError):
            return False
        return True

    def snapshot(self, look: Look) -> dict[str, Any]:
        realm = realm_of(look)
        wanted = wanted_in(look)
        found: dict[str, Any] = {
            "realm": realm,
            "filters": {name: getattr(wanted, name) for name in service.NAMES},
            "is_filtered": not wanted.is_empty,
            "events": [],
            "before": None,
            "head": None,
            "verified": None,
            "problems": [],
        }
        try:
            rows = service.events(look.actor, realm, wanted)
            before = look.get("before", 20)
            if before.isascii() and before.isdigit() and len(before) < 19:
                rows = rows.filter(seq__lt=int(before))
            events = list(rows[: service.PAGE + 1])
        except (Refused, pdp.InvalidRequestError, pdp.Unavailable) as error:
            found["problems"] = [str(problem) for problem in getattr(error, "problems", ())] or [str(error)]
            return found
        if len(events) > service.PAGE:
            found["before"] = events[service.PAGE - 1].seq
        found["events"] = [{**service.event_line(event), "erased": service.is_erased(event)} for event in events[: service.PAGE]]
        return {**found, "head": service.head(realm), "verified": service.last_verification(realm)}

    def context(self, look: Look) -> dict[str, Any]:
        realm = realm_of(look)
        wanted = wanted_in(look)
        query = {"realm": realm, **{name: getattr(wanted, name) for name in service.NAMES if getattr(wanted, name)}}
        may_verify, may_export = look.may(OPERATE, "maintenance"), look.may(EXPORT)
        needs = _("This needs %(code)s on %(page)s.")
        return {
            "here": here(look),
            "realms": offered(look, AUDIT_VIEW, realm),
            "fields": [(name, TITLES[name], getattr(wanted, name), EXAMPLES.get(name, "")) for name in service.NAMES],
            "query": urlencode(query),
            "exports": [
                (kind, f"{reverse('api-audit-export')}?{urlencode({**query, 'format': kind})}") for kind in service.FORMATS
            ],
            "missing_export": "" if may_export else needs % {"code": EXPORT, "page": on_page("audit")},
            "missing_verify": "" if may_verify else needs % {"code": OPERATE, "page": MAINTENANCE_PAGE},
        }
