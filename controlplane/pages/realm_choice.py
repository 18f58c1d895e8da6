"""Which realm a page looks into: the one in the link, else the one that the session works in, else the control plane's own."""

from __future__ import annotations

from typing import Final

from controlplane.pages.base import Look
from controlplane.services.realms import may_in
from controlplane.services.rights import control_realm
from permissions import pdp
from permissions.admin.asker import current_realm
from permissions.models import Realm

# Realms that the choice offers; each costs a decision. Any other can be written into the link.
MOST_OFFERED: Final = 50


def realm_of(look: Look) -> str:
    asked = look.get("realm", 300)
    if asked:
        return asked
    return current_realm(look.request).name if look.request is not None else control_realm()


def offered(look: Look, code: str, chosen: str) -> list[str]:
    """Those where the person holds the code, and the chosen one."""
    found = []
    for name in Realm.objects.order_by("name").values_list("name", flat=True)[:MOST_OFFERED]:
        try:
            if name == chosen or may_in(look.actor, code, name):
                found.append(name)
        except (pdp.InvalidRequestError, pdp.Unavailable):
            continue
    return found if chosen in found else [chosen, *found]


def here(look: Look) -> str:
    """The page as it is filtered, for a form of a part, which is asked for under another address."""
    request = look.request
    if request is None:
        return ""
    query = request.GET.copy()
    query.pop("part", None)
    return f"{request.path}?{query.urlencode()}" if query else request.path


def request_id_of(look: Look) -> str:
    return str(getattr(look.request, "request_id", ""))
