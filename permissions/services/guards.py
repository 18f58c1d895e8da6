"""Guards of the managing permissions: who may use a use case at all, asked before anything is written."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from permissions.engine import names
from permissions.engine.types import REALM
from permissions.errors import Forbidden
from permissions.services.handing_out import Author, at_text
from permissions.writing import Write

Verb = Literal["create", "change", "delete"]


def require(write: Write, noun: str, verb: Verb, scopes: Iterable[str | None] = (None,)) -> Author | None:
    """Raises Forbidden unless the actor holds `permsite.<noun>:<verb>` at each scope (None is the realm). Administrators pass.

    Gives the author as read, for the guards that follow in the same use case; None for an administrator.
    """
    if write.actor.administrator:
        return None
    author = Author(write)
    code = f"permsite.{noun}:{verb}"
    for scope in scopes:
        at = scope or REALM
        if not author.may(code, at):
            raise Forbidden(f"{names.shown(author.ref)} does not hold {code} {at_text(at)}")
    return author
