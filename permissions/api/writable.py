"""The writing half of a noun: create, replace, merge, remove. Parse the line, call one service, answer with the line."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, TypeVar
from urllib.parse import quote

from rest_framework.request import Request as HttpRequest
from rest_framework.response import Response

from permissions.api.nouns import Line, NounView
from permissions.api.openapi import Operation, ref
from permissions.bundle.schema import to_dict
from permissions.errors import Invalid, NotFound, Problem
from permissions.writing import Actor, Write

T = TypeVar("T")


class WritableNoun(NounView):
    """A subclass names its parser and its three services; guards and rules are theirs."""

    collection: ClassVar = {"get": "index", "post": "create"}
    item: ClassVar = {"get": "retrieve", "put": "replace", "patch": "merge", "delete": "remove"}

    @abstractmethod
    def parse(self, data: object) -> Any:
        """The body as a spec. Raises Invalid with every mistake and its place."""

    @abstractmethod
    def create_row(self, write: Write, spec: Any) -> Any: ...

    @abstractmethod
    def change_row(self, write: Write, name: str, spec: Any) -> Any: ...

    @abstractmethod
    def delete_row(self, write: Write, name: str) -> None: ...

    def body(self, data: object, name: str) -> object:
        """The body as a line; a noun whose answers carry more than a line takes that off."""
        return data

    @property
    def actor(self) -> Actor:
        return self.asker.manager()

    def create(self, request: HttpRequest) -> Response:
        spec = self.parse(request.data)

        def work(write: Write) -> tuple[Any, Line]:
            row = self.create_row(write, spec)
            return row, self.stored(write, row)

        (row, line), headers = self.write(work)
        return Response(line, status=201, headers={**headers, "Location": self.address(str(getattr(row, self.column)))})

    def stored(self, write: Write, row: Any) -> Line:
        """The line as it was stored, not as it was sent."""
        return self.line(write.realm, self.rows(write.realm).get(pk=row.pk))

    def address(self, name: str) -> str:
        return f"/api/v1/{self.section}/{quote(name, safe=':@')}/"

    def replace(self, request: HttpRequest, name: str) -> Response:
        spec = self.parse(self.body(request.data, name))
        return self.changed(lambda write: self.stored(write, self.change_row(write, name, spec)))

    def merge(self, request: HttpRequest, name: str) -> Response:
        data = self.body(request.data, name)
        if not isinstance(data, Mapping):
            raise Invalid([Problem("", "must be an object with the keys to change")])

        def work(write: Write) -> Line:
            # Read under the realm's lock: two patches of different keys must not undo each other. And only for who may view it:
            # the answer holds the keys that were not sent, and so may a mistake in what becomes of both.
            present = self.body(self.line(write.realm, self.seen_row(write.realm, name)), name)
            merged = {**present, **data} if isinstance(present, Mapping) else data
            spec = self.parse({key: value for key, value in merged.items() if value is not None})
            return self.stored(write, self.change_row(write, name, spec))

        return self.changed(work)

    def remove(self, request: HttpRequest, name: str) -> Response:
        _, headers = hiding(self, lambda: self.write(lambda write: self.delete_row(write, name)))
        return Response(status=204, headers=headers)

    def changed(self, work: Callable[[Write], Line]) -> Response:
        line, headers = hiding(self, lambda: self.write(work))
        return Response(line, headers=headers)

    def possible_operations(self) -> dict[str, Operation]:
        answer, line, many = ref(self.answer()), ref(self.component), self.section
        named = (self.name_parameter(),)
        return {
            **super().possible_operations(),
            "create": Operation(f"{many}_create", f"Create {self.one}", many, answer, 201, line, writes=True, problems=(404,)),
            "replace": Operation(
                f"{many}_replace",
                f"Replace {self.one}",
                many,
                answer,
                200,
                line,
                writes=True,
                problems=(404,),
                parameters=named,
            ),
            "merge": Operation(
                f"{many}_merge",
                f"Change some keys of {self.one}",
                many,
                answer,
                200,
                ref(f"{self.component}Patch"),
                writes=True,
                problems=(404,),
                parameters=named,
            ),
            "remove": Operation(
                f"{many}_delete", f"Delete {self.one}", many, None, 204, writes=True, problems=(404,), parameters=named
            ),
        }


def compact(specs: Sequence[Any]) -> list[Line]:
    return [to_dict(spec) for spec in specs]


def hiding(view: NounView, work: Callable[[], T]) -> T:
    """Who may not view a noun is not told which of its names exist."""
    try:
        return work()
    except NotFound:
        view.asker.require(view.code("view"))
        raise
