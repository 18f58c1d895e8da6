"""A question about the past: which revision it is about, and all that the question needs at it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from django.db import DatabaseError, InterfaceError

from permissions import revisions, selectors
from permissions.cache import database, live
from permissions.cache.pinned import Pinned, covers
from permissions.conditions import cel
from permissions.engine import names
from permissions.engine.compile import compile_table
from permissions.engine.evaluate import evaluate
from permissions.engine.reasons import InvalidRequestError, Unavailable
from permissions.engine.table import RoleTable
from permissions.engine.types import Decision, Request
from permissions.errors import NotFound
from permissions.models import Changelog
from permissions.revisions import Head, Token, TokenFromFuture
from permissions.timeline.facts import Facts
from permissions.timeline.floor import check_kept, floor_of, revision_at
from permissions.timeline.rows import Rows
from resilience import telemetry


class Timeline:
    """The revisions of a realm from `since` to the head, of one database snapshot, which must stay open while it is used."""

    def __init__(self, head: Head, since: int) -> None:
        self.head = head
        self._rows = Rows(head.realm_id, since)
        changes = Changelog.objects.filter(realm_id=head.realm_id, rev__gt=since, rev__lte=head.rev, kind__in=["m", "*"])
        self._model_changes = sorted(set(changes.values_list("rev", flat=True)))
        # One table for all the revisions between two changes of the model; the newest are kept, as a replay goes forward.
        self._tables: dict[int, RoleTable] = {}

    def pinned(self, revision: int, requests: Sequence[Request], at_us: int) -> Pinned:
        """All that the questions need at the revision, for the instant."""
        facts = Facts(self._rows, revision)
        head = Head(self.head.realm_id, self.head.name, self.head.epoch, revision, 0)
        pinned = Pinned(head, self._table(revision, facts), at_us, "live")
        live.load_for(pinned, requests, source=facts)
        return pinned

    def _table(self, revision: int, facts: Facts) -> RoleTable:
        place = bisect_right(self._model_changes, revision)
        table = self._tables.get(place)
        if table is None:
            is_newest = place == len(self._model_changes)
            # What has not changed since is compiled already, in a process that answers for the realm.
            table = live.opened(self.head.name, None, 0).table if is_newest else compile_table(facts.model(), cel.language())
            if len(self._tables) >= 2:
                self._tables.pop(next(iter(self._tables)))
            self._tables[place] = table
        return table


@contextmanager
def refusals(realm: object) -> Iterator[None]:
    """What a past question raises, as a present one does."""
    try:
        names.check_text(realm, "realm", max_length=names.MAX_NAME)
        yield
    except names.BadNameError as error:
        raise InvalidRequestError(str(error)) from error
    except NotFound as error:
        raise InvalidRequestError(str(error)) from error
    except (TypeError, AttributeError, KeyError, StopIteration) as error:
        telemetry.internal_error("permission_timeline", "read", error)
        raise Unavailable("a row of the past cannot be read", retry_after_s=60.0) from error
    except (DatabaseError, InterfaceError) as error:
        raise Unavailable("the database does not answer", retry_after_s=1.0) from error


def opened(realm: str, token: Token | None = None) -> Head:
    """The head of the current database snapshot. Raises NotFound, TokenFromFuture."""
    head = revisions.head(realm)
    if token is not None and not covers(head, token):
        raise TokenFromFuture("the token names a revision that this realm has not reached")
    return head


def pin(
    realm: str,
    requests: Sequence[Request],
    *,
    at_us: int,
    revision: int | None = None,
    token: Token | None = None,
) -> Pinned:
    """All that `requests` need as of a past instant: the rows of the revision then in force, or of the one that is named.

    Raises NotKept where they cannot be read back, and what a check raises.
    """

    def read() -> Pinned:
        with selectors.one_snapshot():
            head = opened(realm, token)
            floor = floor_of(head)
            if revision is None:
                at = revision_at(head, floor, at_us)
            else:
                check_kept(head, floor, revision)
                at = revision
            return Timeline(head, at).pinned(at, requests, at_us)

    with refusals(realm):
        return database.bounded(read, limit_s=database.SEARCH_LIMIT_S, is_search=True)


def decide(pinned: Pinned, request: Request, *, place: int = 0, superuser: bool = False, slack_us: int = 0) -> Decision:
    """The decision with what is pinned; `place`: of the question among those that it was pinned for."""
    subject, resource = pinned.of(place, request)
    found = evaluate(pinned.table, subject, resource, request, pinned.now_us, superuser_allowed=superuser, slack_us=slack_us)
    return Decision(found.allowed, found.reason, pinned.head.rev, pinned.source, found.obligations)


def decide_at(realm: str, revision: int, request: Request, *, at_us: int, superuser: bool = False, slack_us: int = 0) -> Decision:
    """The decision with the rows of the revision, at the instant. Raises NotKept, and what a check raises."""
    return decide(pin(realm, [request], at_us=at_us, revision=revision), request, superuser=superuser, slack_us=slack_us)
