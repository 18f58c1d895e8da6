"""What the application is given from outside: who decides and who is calling. It imports neither, so it needs no Django.

The modules `permissions.pdp` and `permissions.identity.keys` fit these ports; tests bring their own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from permissions.engine.types import Asserted, Decision, Request

T = TypeVar("T")


class Caller(Protocol):
    """An enforcement point: it may ask anything in its realm (semantics, "Who may ask")."""

    @property
    def realm(self) -> str: ...
    @property
    def asserted(self) -> Asserted: ...


class Callers(Protocol):
    def warm(self, header: str) -> Caller | None:
        """The caller as remembered, without I/O. None: not remembered, which says nothing; ask `aresolve`."""

    async def aresolve(self, header: str) -> Caller | None:
        """None: nobody we know. Raises Unavailable."""


class Explanation(Protocol):
    """Its decision carries revision and source, as one of `adecide` does."""

    @property
    def decision(self) -> Decision: ...
    def to_dict(self) -> dict[str, Any]: ...


class Signer(Protocol):
    """Signs what the metadata document says; `key_set` is what its readers verify that with (`signing.Signer`)."""

    @property
    def key_set(self) -> bytes: ...
    def sign(self, claims: Mapping[str, Any]) -> str: ...


class Found(Protocol):
    """A page of a search, in order. `next_after`: where the next one goes on, None at the end."""

    @property
    def results(self) -> list[str]: ...
    @property
    def next_after(self) -> str | None: ...
    @property
    def revision(self) -> int: ...


class DecisionPoint(Protocol):
    """All but the warm ones raise InvalidRequestError (400), Unavailable (503) or a `permissions.errors.Refused` (its status).

    `token`: a revision token, or the word `full`; the answer is at least that fresh. `superuser`: step 6 of the order holds.
    """

    def plain_one(self, subject: str, permission: str, resource: str, realm: str) -> Decision | None:
        """`warm` for texts as they came, of a question that says nothing else. None: no plain one, or no such texts; ask on."""

    def plain_batch(
        self, subjects: Sequence[str], permissions: Sequence[str], resources: Sequence[str], realm: str, answers: tuple[T, T]
    ) -> list[T] | None:
        """For each of as many such questions the first of `answers` for no, the second for yes; all of one State."""

    def warm(self, request: Request, realm: str, *, superuser: bool = False) -> Decision | None:
        """The decision if it can be had without I/O. Compare with `is None`: a denial is falsy too."""

    def warm_many(self, requests: Sequence[Request], realm: str, *, superuser: bool = False) -> list[Decision] | None: ...

    async def adecide(self, request: Request, *, realm: str, token: str | None = None, superuser: bool = False) -> Decision: ...

    async def adecide_many(
        self, requests: Sequence[Request], *, realm: str, token: str | None = None, superuser: bool = False
    ) -> list[Decision]:
        """All of them at one revision."""

    async def aexplain_request(
        self, request: Request, *, realm: str, token: str | None = None, superuser: bool = False
    ) -> Explanation: ...

    async def asearch_subjects(
        self,
        request: Request,
        kind: str,
        *,
        limit: int | None,
        after: str | None,
        realm: str,
        token: str | None = None,
        superuser: bool = False,
    ) -> Found:
        """Refs of the type for whom the question is answered yes; the request's own subject is ignored."""

    async def asearch_resources(
        self,
        request: Request,
        kind: str,
        *,
        limit: int | None,
        after: str | None,
        realm: str,
        token: str | None = None,
        superuser: bool = False,
    ) -> Found:
        """Refs of the type on which the question is answered yes; the request's own resource is ignored."""

    async def asearch_actions(
        self,
        request: Request,
        *,
        limit: int | None,
        after: str | None,
        realm: str,
        token: str | None = None,
        superuser: bool = False,
    ) -> Found:
        """Names of the actions that are allowed on the request's resource; its permission is ignored."""

    async def atoken_at(self, realm: str, revision: int) -> str:
        """The token of a revision that a decision was evaluated at."""


@dataclass(slots=True)
class Call:
    """One authenticated request. `token`: what X-Permission-Token asked for; `revisions`: what the answer was evaluated at."""

    caller: Caller
    token: str | None
    revisions: list[int]
    pdp: DecisionPoint
    superuser: bool


# What stands behind a path: the call and its body, a JSON object, to the body of the answer. Raises what a decision point raises.
Endpoint = Callable[[Call, dict[str, Any]], Awaitable[bytes]]
