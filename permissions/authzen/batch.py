"""Access Evaluations: top-level defaults, three semantics, errors that stay with their item.

Source: AuthZEN 1.0, "Access Evaluations API". A default that every item replaces is never looked at: real clients send `{}`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from permissions.authzen import messages
from permissions.authzen.messages import Json
from permissions.engine import names
from permissions.engine.reasons import InvalidRequestError
from permissions.engine.types import Asserted, Request

MAX_ITEMS: Final = 1_000  # interfaces, wire limits
EXECUTE_ALL: Final = "execute_all"
DENY_ON_FIRST_DENY: Final = "deny_on_first_deny"
PERMIT_ON_FIRST_PERMIT: Final = "permit_on_first_permit"
# Which decision ends the batch; execute_all is ended by none.
_ENDED_BY: Final[Mapping[str, bool | None]] = {EXECUTE_ALL: None, DENY_ON_FIRST_DENY: False, PERMIT_ON_FIRST_PERMIT: True}
_DEFAULTS: Final = ("subject", "action", "resource", "context")

Item = Request | InvalidRequestError


@dataclass(frozen=True, slots=True)
class Batch:
    """`items`: each a request, or the reason why there is none; nothing after an item that already ends the batch."""

    items: list[Item]
    ended_by: bool | None

    @property
    def requests(self) -> list[Request]:
        return [item for item in self.items if isinstance(item, Request)]


def batch_of(message: Mapping[str, Any], asserted: Asserted) -> Batch | None:
    """None where `evaluations` is absent or empty: such a body is a single evaluation. Raises for the body as a whole."""
    ended_by = _ended_by(message.get("options", {}))
    evaluations = message.get("evaluations", [])
    if type(evaluations) is not list:
        raise InvalidRequestError(f"evaluations must be an array, not {messages.kind_of(evaluations)}")
    if not evaluations:
        return None
    if len(evaluations) > MAX_ITEMS:
        raise InvalidRequestError(f"evaluations has {len(evaluations)} items; at most {MAX_ITEMS} are allowed")
    defaults = {name: message[name] for name in _DEFAULTS if name in message}
    known: messages.Known = {}
    items: list[Item] = []
    for index, evaluation in enumerate(evaluations):
        item = _item_of(evaluation, index, defaults, asserted, known)
        items.append(item)
        if ended_by is False and not isinstance(item, Request):
            break  # an error counts as a deny: what follows is neither decided nor answered
    return Batch(items, ended_by)


def _ended_by(options: object) -> bool | None:
    if type(options) is not dict:
        raise InvalidRequestError(f"options must be an object, not {messages.kind_of(options)}")
    semantic = options.get("evaluations_semantic", EXECUTE_ALL)
    if type(semantic) is not str:
        raise InvalidRequestError(f"options.evaluations_semantic must be a string, not {messages.kind_of(semantic)}")
    if semantic not in _ENDED_BY:
        raise InvalidRequestError(f"options.evaluations_semantic {names.shown(semantic)} must be one of {', '.join(_ENDED_BY)}")
    return _ENDED_BY[semantic]


def _item_of(evaluation: object, index: int, defaults: Json, asserted: Asserted, known: messages.Known) -> Item:
    if type(evaluation) is not dict:
        return InvalidRequestError(f"evaluations[{index}] must be an object, not {messages.kind_of(evaluation)}")
    try:
        # A member of the item replaces the default whole; nothing inside it is merged.
        return messages.request_of({**defaults, **evaluation}, asserted, known)
    except InvalidRequestError as error:
        return InvalidRequestError(f"evaluations[{index}].{error}")


def answers(batch: Batch, decided: Iterable[Json]) -> list[Json]:
    """Answers in the order of the request, cut after the one that ends the batch. `decided` are those of `batch.requests`."""
    following = iter(decided)
    result: list[Json] = []
    for item in batch.items:
        answer = next(following) if isinstance(item, Request) else error_of(item)
        result.append(answer)
        if answer["decision"] is batch.ended_by:
            break
    return result


def error_of(error: InvalidRequestError) -> Json:
    """The answer of an item that cannot be decided; a deny, whatever the client makes of its context."""
    return {"decision": False, "context": {"error": {"status": 400, "message": str(error)}}}
