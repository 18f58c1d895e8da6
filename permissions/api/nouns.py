"""The reading half of every noun: lists, paged and filtered, and single objects, as the lines of a bundle."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from itertools import compress
from typing import Any, ClassVar, Final
from urllib.parse import urlencode

from django.conf import settings
from django.db.models import Q, QuerySet
from rest_framework.request import Request as HttpRequest
from rest_framework.response import Response
from rest_framework.viewsets import ViewSetMixin

from permissions.api.base import REASON, ApiView
from permissions.api.openapi import Operation, parameter, ref
from permissions.api.queries import Filter, Page, orderings
from permissions.engine import names, platform
from permissions.errors import Forbidden, NotFound
from permissions.models import Realm

Line = dict[str, Any]
Actions = dict[str, Any]
# Rows asked about at once, and rows looked at for one page of a caller who may see few of them; chosen, the page says `next`.
CHUNK: Final = 500
MAX_LOOKED_AT: Final = 5_000
LISTING: Final = ("limit", "after", "ordering")


class NounView(ABC, ViewSetMixin, ApiView):
    """`index` and `retrieve` of one noun. A subclass names its rows and how they become lines.

    `key` is the key of a line that names it, `column` the column that holds it. `scoped`: each row is seen with
    `permsite.<noun>:view` at its own scope, else all are seen with it at the realm.
    """

    noun: ClassVar[str]
    section: ClassVar[str]
    component: ClassVar[str]
    key: ClassVar[str] = "name"
    column: ClassVar[str] = "name"
    key_type: ClassVar[type] = str
    scoped: ClassVar[bool] = False
    newest_first: ClassVar[bool] = False
    searched: ClassVar[tuple[str, ...]] = ()
    filters: ClassVar[Mapping[str, Filter]] = {}
    collection: ClassVar[Actions] = {"get": "index"}
    item: ClassVar[Actions] = {"get": "retrieve"}
    action_map: dict[str, str]  # set by ViewSetMixin: one of the two above

    def initial(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        self.asker.manager()
        self.require_reached()
        if "name" in kwargs and self.key_of(kwargs["name"]) is None:
            self.asker.require(self.code("view"))
            raise self.missing(self.asker.realm, kwargs["name"])

    def parameters_of(self, method: str) -> tuple[str, ...]:
        if method != "GET":
            return (REASON,)
        if "index" not in self.action_map.values():
            return ()
        return (*LISTING, *(("search",) if self.searched else ()), *self.filters)

    @abstractmethod
    def rows(self, realm: Realm) -> QuerySet[Any]: ...

    @abstractmethod
    def lines(self, realm: Realm, rows: Sequence[Any]) -> list[Line]:
        """The rows as lines, in a few statements whatever their number."""

    def scope_of(self, row: Any) -> str | None:
        """Where a row of a scoped noun is seen; None is the realm."""
        return None

    # Realm and names.
    @property
    def realm(self) -> Realm:
        try:
            return Realm.objects.get(name=self.asker.realm)
        except Realm.DoesNotExist as error:
            raise NotFound(f"there is no realm {self.asker.realm!r}") from error

    def code(self, verb: str) -> str:
        return f"{platform.PREFIX}{self.noun}:{verb}"

    def key_of(self, name: str) -> Any:
        """The name in a path as the column has it; None for one that no row can have (U+0000 is an error of PostgreSQL)."""
        if self.key_type is int:
            return int(name) if name.isascii() and name.isdigit() and len(name) < 19 else None
        return None if any(c < " " or "\ud800" <= c <= "\udfff" for c in name) else name

    def found(self, realm: Realm, name: str) -> Any:
        """The row of that name. Raises NotFound."""
        row = self.rows(realm).filter(**{self.column: self.key_of(name)}).first()
        if row is None:
            raise self.missing(realm.name, name)
        return row

    def missing(self, realm: str, name: str) -> NotFound:
        return NotFound(f"there is no {self.noun} {names.shown(name)} in the realm {names.shown(realm)}")

    def line(self, realm: Realm, row: Any) -> Line:
        return self.lines(realm, [row])[0]

    # GET …/
    def index(self, request: HttpRequest) -> Response:
        realm = self.realm
        page = self.query.page(self.key, newest_first=self.newest_first, key_type=self.key_type)
        condition = self.query.filtered(self.filters)
        if self.query.get("search"):
            condition &= self.searching(self.query.get("search"))
        order = self.column if page.by_key else "pk"
        query = self.rows(realm).filter(condition).order_by(f"-{order}" if page.descending else order)
        if self.scoped and not self.asker.manager().administrator:
            rows, last = self.seen(query, page, order)
        else:
            self.asker.require(self.code("view"))
            rows, last = cut(list(after(query, page, order, page.after)[: page.limit + 1]), page.limit, order)
        return Response({"results": self.lines(realm, rows), "next": self.next_address(page, last)})

    def searching(self, text: str) -> Q:
        found = Q()
        for column in self.searched:
            found |= Q(**{f"{column}__icontains": text})
        return found

    def seen(self, query: QuerySet[Any], page: Page, order: str) -> tuple[list[Any], Any]:
        """Rows whose scope the caller may view. A page may end early, after MAX_LOOKED_AT rows; its `next` goes on from there."""
        memo: dict[str | None, bool] = {}
        rows: list[Any] = []
        place, looked_at = page.after, 0
        while looked_at < MAX_LOOKED_AT:
            chunk = list(after(query, page, order, place)[:CHUNK])
            rows.extend(compress(chunk, self.visible(chunk, memo)))
            if len(rows) > page.limit:
                return cut(rows, page.limit, order)
            if len(chunk) < CHUNK:
                if not rows and page.after is None:
                    self.require_somewhere()
                return rows, None
            looked_at += len(chunk)
            place = getattr(chunk[-1], order)
        return rows, place

    def visible(self, rows: Sequence[Any], memo: dict[str | None, bool]) -> list[bool]:
        """Whether the caller may view each row. `memo`: scopes already asked about for this page."""
        scopes = [scope for scope in dict.fromkeys(map(self.scope_of, rows)) if scope not in memo]
        if scopes:
            memo.update(zip(scopes, self.asker.may_each(self.code("view"), scopes), strict=True))
        return [memo[self.scope_of(row)] for row in rows]

    def require_somewhere(self) -> None:
        """An empty list is for those who may view some; others are told that they may not."""
        if not self.asker.may_somewhere(self.code("view")):
            raise Forbidden(f"this needs {self.code('view')}, at the realm {self.asker.realm!r} or at a scope of it")

    def next_address(self, page: Page, last: Any) -> str | None:
        if last is None:
            return None
        return self.absolute(f"{self.request.path}?{urlencode({**self.request.GET.dict(), 'after': page.cursor(last)})}")

    def absolute(self, address: str) -> str:
        base = settings.PUBLIC_URL.rstrip("/")
        return f"{base}{address}" if base else str(self.request._request.build_absolute_uri(address))

    # GET …/<name>/
    def retrieve(self, request: HttpRequest, name: str) -> Response:
        realm = self.realm
        return Response(self.line(realm, self.seen_row(realm, name)))

    def seen_row(self, realm: Realm, name: str) -> Any:
        """The row, if the caller may view it; asked first, so that a refusal does not tell whether it exists."""
        self.asker.require(self.code("view"))
        return self.found(realm, name)

    # OpenAPI
    def operations(self) -> dict[str, Operation]:
        possible = self.possible_operations()
        return {method.upper(): possible[action] for method, action in self.action_map.items()}

    def possible_operations(self) -> dict[str, Operation]:
        answer = self.answer()
        return {
            "index": Operation(
                f"{self.section}_list",
                f"List {self.section}",
                self.section,
                ref(f"{answer.removesuffix('Answer').removesuffix('Entry')}Page"),
                parameters=tuple(self.list_parameters()),
                problems=(404,),
            ),
            "retrieve": Operation(
                f"{self.section}_read",
                f"Read {self.one}",
                self.section,
                ref(answer),
                problems=(404,),
                parameters=(self.name_parameter(),),
            ),
        }

    @property
    def one(self) -> str:
        return f"a {self.section.removesuffix('s')}"

    def answer(self) -> str:
        """The component that an answer is."""
        return self.component

    def name_parameter(self) -> dict[str, Any]:
        about = f"The `{self.key}` of the line, percent-encoded; it may hold `/`."
        return parameter("name", about, {"type": "integer" if self.key_type is int else "string"}, "path")

    def list_parameters(self) -> Iterator[dict[str, Any]]:
        yield parameter("limit", "Rows a page.", {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100})
        yield parameter("after", "Where the page before ended; taken from its `next`.", {"type": "string"})
        default = f"-{self.key}" if self.newest_first else self.key
        order = {"type": "string", "enum": list(orderings(self.key)), "default": default}
        yield parameter("ordering", "The order of rows.", order)
        if self.searched:
            yield parameter("search", "A text that names or descriptions hold.", {"type": "string"})
        for name, one in self.filters.items():
            yield parameter(name, one.about, one.schema)


def after(query: QuerySet[Any], page: Page, order: str, place: Any) -> QuerySet[Any]:
    return query if place is None else query.filter(**{f"{order}__{'lt' if page.descending else 'gt'}": place})


def cut(rows: list[Any], limit: int, order: str) -> tuple[list[Any], Any]:
    """(rows of the page, sort key of its last row where more follow, else None)."""
    if len(rows) <= limit:
        return rows, None
    return rows[:limit], getattr(rows[limit - 1], order)
