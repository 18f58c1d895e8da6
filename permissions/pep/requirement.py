"""What a view needs: a permission, on which resource, in which context, with which obligations it can comply with."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, NoReturn

from django.core.exceptions import ValidationError
from django.db.models import Field, Model
from django.http import Http404, HttpRequest

from permissions import pdp
from permissions.engine import names
from permissions.engine.types import Attributes, Decision, Request
from permissions.entities import NamelessError, ResourceRef, id_text, kind_of, realm_of, resource_of, subject_of
from permissions.pep.freshness import Freshness
from permissions.pep.freshness import of as freshness_of

log = logging.getLogger("permissions.pep")

# A text such as "post:7" or "post:{pk}", a model, or a function of the request and the view's arguments.
Resource = str | type[Model] | Callable[..., Any] | None
Context = Attributes | Callable[..., Any] | None
Handler = Callable[[HttpRequest, Attributes], Any]
Obligations = Mapping[str, Handler] | Collection[str]
# Arguments of a view that name a row of a model.
KEYS: Final = ("pk", "id")


class NotAuthenticated(Exception):
    """Nobody is logged in."""


class Denied(Exception):
    """The answer is no. `permission`: what it was about."""

    def __init__(self, permission: str, why: str) -> None:
        super().__init__(why)
        self.permission = permission


class Requirement:
    """`obligations`: the types of obligation that are complied with, each by its function, or by the view itself where it is only
    named. Raises ValueError or TypeError for what can never be asked."""

    def __init__(
        self,
        permission: str,
        *,
        resource: Resource = None,
        context: Context = None,
        realm: str | None = None,
        obligations: Obligations = (),
        full: bool = False,
    ) -> None:
        if not isinstance(permission, str):
            raise TypeError(f"a permission is a text such as 'post:edit', not {type(permission).__name__}")
        self.permission = names.check_code(permission)
        self.resource = resource
        self.context = context
        self.realm = realm
        self.full = full
        if isinstance(obligations, str):
            raise TypeError("obligations names types: a list of texts, or a mapping of each to what complies with it")
        self.handlers: dict[str, Handler | None] = (
            dict(obligations) if isinstance(obligations, Mapping) else dict.fromkeys(obligations)
        )
        is_model = isinstance(resource, type) and issubclass(resource, Model)
        if resource is not None and not isinstance(resource, str) and not is_model and not callable(resource):
            raise TypeError(f"resource must be a text, a model or a function, not {type(resource).__name__}")
        self._template = ResourceRef(resource) if isinstance(resource, str) and "{" in resource else None
        if isinstance(resource, str) and self._template is None:
            names.check_ref(resource, "resource")

    def __repr__(self) -> str:
        return f"Requirement({self.permission!r})"

    def named(self, given: object) -> str | None:
        """The resource that `resource` gave. None, the realm itself, only where the declaration names no resource."""
        try:
            return None if self.resource is None else resource_of(given)
        except NamelessError as error:
            self.deny(str(error))

    def given(self, request: HttpRequest, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """What names the resource; awaitable where the function is asynchronous."""
        if self._template is not None:
            return self._formatted(self._template, kwargs)
        if isinstance(self.resource, type):
            return self._row(self.resource, kwargs)
        return self.resource(request, *args, **kwargs) if callable(self.resource) else self.resource

    def _formatted(self, template: ResourceRef, kwargs: Mapping[str, Any]) -> str:
        found = [f"{template.kind}:"]
        for text, argument in template.parts:
            found.append(text)
            if argument:
                if argument not in kwargs:
                    self.deny(f"the view has no argument {argument!r} for {template.template!r}")
                try:
                    found.append(id_text(kwargs[argument]))
                except NamelessError as error:
                    self.deny(str(error))
        return "".join(found)

    def _row(self, model: type[Model], kwargs: Mapping[str, Any]) -> str:
        """By the key as the model reads it: `/posts/07/` shows row 7, so row 7 is asked about. Raises Http404 for none."""
        declared = getattr(model, "permission_resource", None)
        if declared is not None and not isinstance(declared, ResourceRef):
            raise TypeError(f"{model.__name__}.permission_resource needs a row: give resource= a function that finds it")
        key = next((name for name in KEYS if name in kwargs), None)
        if key is None:
            self.deny(f"the view has no argument named {' or '.join(KEYS)}")
        field: Field[Any, Any] = model._meta.pk
        try:
            value = field.to_python(kwargs[key])
        except ValidationError as error:
            raise Http404(f"{kwargs[key]!r} is no key of {model.__name__}") from error
        # A text may find a row that is called otherwise, where its column takes two texts for one.
        if declared is None and not isinstance(value, str):
            try:
                return f"{kind_of(model)}:{id_text(value)}"
            except NamelessError as error:
                self.deny(str(error))
        raise NeedsRow(model, value)

    def asks(self, user: object, request: HttpRequest, resource: str | None, context: object) -> tuple[Request, str, Freshness]:
        """The question, its realm, and how fresh the answer must be."""
        realm = realm_of(user, self.realm)
        if realm is None:
            self.deny("the caller belongs to another realm")
        if context is not None and not isinstance(context, Mapping):
            raise TypeError(f"context must give a mapping, not {type(context).__name__}")
        try:
            asked = pdp.question(self.subject(user), self.permission, resource, context=context)
        except pdp.InvalidRequestError as error:
            self.deny(str(error))
        return asked, realm, freshness_of(request, full=self.full)

    def subject(self, user: object) -> str:
        found = subject_of(user)
        if found is not None:
            return found
        if not getattr(user, "is_authenticated", False):
            raise NotAuthenticated
        self.deny("the account has no name that a subject can have")

    def duties(self, decision: Decision) -> list[tuple[Handler, Attributes]]:
        """What is to be done before the view runs. Raises Denied for a no, and for an obligation that is not understood."""
        if not decision.allowed:
            self.deny(decision.reason)
        found = []
        for obligation in decision.obligations:
            kind = str(obligation.get("type", ""))
            if kind not in self.handlers:
                log.warning(
                    "%s was allowed with an obligation of type %r, which the view cannot comply with", self.permission, kind
                )
                self.deny("an obligation that is not understood")
            handler = self.handlers[kind]
            if handler is not None:
                found.append((handler, obligation))
        return found

    def deny(self, why: str) -> NoReturn:
        raise Denied(self.permission, why)


class NeedsRow(Exception):
    """The row must be read to know what it is called."""

    def __init__(self, model: type[Model], key: Any) -> None:
        super().__init__(model.__name__)
        self.model = model
        self.key = key

    def row(self) -> Model:
        """Raises Http404 where there is none."""
        found = self.model._default_manager.filter(pk=self.key).first()
        if found is None:
            raise Http404(f"there is no {self.model.__name__} {self.key!r}")
        return found
