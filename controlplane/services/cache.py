"""The caches of decisions as operators handle them: counting what a flush would drop, and flushing."""

from __future__ import annotations

from controlplane.services.rights import CACHE_PAGE, OPERATE, VIEW, require
from permissions.cache import flush
from permissions.cache.flush import Counted, Flushed
from permissions.writing import Actor


def flush_count(*, actor: Actor, realm: str, tag: object, value: object = None) -> Counted:
    """Raises Forbidden, Invalid, NotFound. Changes nothing."""
    require(actor, VIEW, CACHE_PAGE)
    return flush.count(realm, flush.target(tag, value))


def flush_write(
    *, actor: Actor, realm: str, tag: object, value: object = None, reason: str = "", request_id: str = ""
) -> Flushed:
    """A revision of `realm`, in its audit. Raises Forbidden, Invalid, NotFound."""
    require(actor, OPERATE, CACHE_PAGE)
    return flush.flush(realm, flush.target(tag, value), actor=actor, reason=reason, request_id=request_id)
