"""`Post.objects.permitted(user, "post:view")`: the rows for which a check says yes, as one more condition of the query.

    class Post(models.Model):
        objects = PermittedQuerySet.as_manager()

The decision is made each time the query runs, at one revision: a queryset that was kept (a form's choices, a module's constant)
never answers with an old one. Where no decision can be given, running the query raises what a check raises; a list that is
silently empty would be a wrong answer.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, Self, TypeVar, cast

from django.db import DEFAULT_DB_ALIAS
from django.db.models import BooleanField, Expression, F, Model, QuerySet
from django.db.models.sql.compiler import SQLCompiler

from permissions import pdp
from permissions.engine.types import Attributes, Request
from permissions.entities import ResourceRef, kind_of, realm_of, subject_of
from permissions.errors import Refused
from permissions.lookup import below
from permissions.lookup.below import Sql
from permissions.lookup.queryset import Rule
from permissions.pep import decisions, freshness, ref_columns
from permissions.pep.freshness import Freshness
from permissions.pep.ref_columns import RefColumns

M = TypeVar("M", bound=Model)
# Up to so many refs stand in the query as the values of their column, which uses its index; more are a subquery.
MOST_LISTED: Final = 1_000
NOTHING: Final = Sql("(1 = 0)", [])
# Rows whose ids are asked about one by one, at once.
PART: Final = 5_000


def permitted(
    rows: QuerySet[M],
    user: object,
    permission: str,
    *,
    context: Attributes | None = None,
    resource: str | ResourceRef | None = None,
    realm: str | None = None,
    token: str | None = None,
    full: bool = False,
    obligations: Collection[str] = (),
) -> QuerySet[M]:
    """`rows` without those for which a check of `permission` says no. For querysets of any class.

    `user`: an account, or a subject such as "user:alice". `resource`: how the rows are called, where the model's own
    `permission_resource` does not say so. `obligations`: the types that the caller complies with for every row it shows; a row
    whose grant carries another one is left out. `token`: the state to be reached; running the query raises Invalid for a forged
    one, and TokenFromFuture for one that is ahead of the realm. Raises InvalidRequestError for a permission that is none,
    TypeError for a model whose resources SQL cannot name.
    """
    fresh = Freshness(token, full, is_asked=token is not None)
    return filtered(rows, user, permission, fresh, context=context, resource=resource, realm=realm, obligations=obligations)


def filtered(
    rows: QuerySet[M],
    user: object,
    permission: str,
    fresh: Freshness,
    *,
    context: Attributes | None = None,
    resource: str | ResourceRef | None = None,
    realm: str | None = None,
    obligations: Collection[str] = (),
    told: Callable[[Exception], Exception] | None = None,
) -> QuerySet[M]:
    """`permitted` as fresh as given. `told`: what to raise instead of an error of the decision."""
    if isinstance(obligations, str | Mapping) or not all(isinstance(one, str) for one in obligations):
        raise TypeError("obligations names types that the caller complies with: a list of texts")
    subject = user if isinstance(user, str) else subject_of(user)
    where = realm_of(user, realm)
    ref = named_by(rows.model, resource)
    request = pdp.question(subject or "user:nobody", permission, None, context=context)
    columns = ref_columns.of(rows, ref)
    if subject is None or where is None or not getattr(user, "is_active", True):
        return rows.none()
    # As Django has it, a superuser may; a subject that is only named is held to what `pdp.check` says of it.
    asked = Asked(request, where, fresh, superuser=not isinstance(user, str), obligations=frozenset(obligations), told=told)
    return rows.filter(Permitted(columns, asked, rows))


def named_by(model: type[Model], resource: str | ResourceRef | None) -> ResourceRef:
    if resource is not None:
        return resource if isinstance(resource, ResourceRef) else ResourceRef(resource)
    declared = getattr(model, "permission_resource", None)
    if declared is None:
        return ResourceRef(f"{kind_of(model)}:{{pk}}")
    if isinstance(declared, ResourceRef):
        return declared
    raise TypeError(
        f"{model.__name__}.permission_resource is Python that SQL cannot run: declare it as "
        "ResourceRef('type:{field}'), or give permitted() its resource="
    )


class PermittedQuerySet(QuerySet[M]):
    def permitted(self, user: object, permission: str, **options: Any) -> Self:
        """See `permissions.pep.queryset.permitted`."""
        return cast(Self, permitted(self, user, permission, **options))


class Asked:
    """What is asked each time the query runs; as fresh as said, else as the request that is being answered says."""

    def __init__(
        self,
        request: Request,
        realm: str,
        fresh: Freshness,
        *,
        superuser: bool,
        obligations: frozenset[str] = frozenset(),
        told: Callable[[Exception], Exception] | None = None,
    ) -> None:
        self.request = request
        self.realm = realm
        self.fresh = fresh
        self.superuser = superuser
        self.obligations = obligations
        self.told = told

    def rule(self, kind: str) -> Rule:
        fresh = freshness.current() if self.fresh == freshness.ANY else self.fresh
        try:
            return decisions.rule(
                self.request, kind, realm=self.realm, fresh=fresh, superuser=self.superuser, obligations=self.obligations
            )
        except (pdp.Unavailable, Refused, pdp.InvalidRequestError) as error:
            told = error if self.told is None else self.told(error)
            if told is error:
                raise
            raise told from error


class Permitted(Expression):
    """The condition. `rows`: the queryset it was put on, for the rare rule that must look at each of its rows."""

    conditional = True

    def __init__(self, columns: RefColumns, asked: Asked, rows: QuerySet[Any]) -> None:
        super().__init__(output_field=BooleanField())
        self.columns = columns
        self.asked = asked
        self.rows = rows
        self.sources: list[Any] = [columns.text, *([F(columns.only)] if columns.only else [])]

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other

    def get_source_expressions(self) -> list[Any]:
        return self.sources

    def set_source_expressions(self, exprs: Any) -> None:
        self.sources = list(exprs)

    def as_sql(self, compiler: SQLCompiler, connection: Any, **_extra: Any) -> Any:
        rule = self.asked.rule(self.columns.ref.kind)
        has_tree = connection.alias == DEFAULT_DB_ALIAS
        refs = below.read(rule, MOST_LISTED if has_tree else None)
        if refs == [below.NO_TREE]:
            return NOTHING
        unseen = [] if rule.decide_unseen is None else self._unseen(rule, rule.decide_unseen)
        if refs is None:
            found, newer = below.exceptions(rule, connection.vendor), below.tree_is_newer(rule)
            text, params = self._text(compiler, connection)
            inside = Sql(f"{text} IN ({found.text})", [*params, *found.params])
        else:
            inside, newer = self._among(compiler, connection, refs), None
        if unseen:
            more = self._among(compiler, connection, unseen)
            inside = Sql(f"({inside.text} OR {more.text})", [*inside.params, *more.params])
        if rule.is_open:
            legal = self._legal(compiler, connection)
            inside = Sql(f"({legal.text} AND NOT ({inside.text}))", [*legal.params, *inside.params])
        if newer is not None:
            inside = Sql(f"({inside.text} AND {newer.text})", [*inside.params, *newer.params])
        return inside

    def _text(self, compiler: SQLCompiler, connection: Any) -> Sql:
        text, params = compiler.compile(self.sources[0])
        # A collation that ignores case would let one row pass for another.
        return Sql(f'({text}) COLLATE "C"' if connection.vendor == "postgresql" else f"({text})", list(params))

    def _among(self, compiler: SQLCompiler, connection: Any, refs: list[str]) -> Sql:
        if not refs:
            return NOTHING
        if self.columns.only and len(refs) <= MOST_LISTED:
            values = self.columns.values_of(refs, connection)
            if not values:
                return NOTHING
            column, own = compiler.compile(self.sources[1])
            return Sql(f"{column} IN ({', '.join(['%s'] * len(values))})", [*own, *values])
        text, params = self._text(compiler, connection)
        wanted = below.texts(connection.vendor, refs)
        return Sql(f"{text} IN {wanted.text}", [*params, *wanted.params])

    def _legal(self, compiler: SQLCompiler, connection: Any) -> Sql:
        """A row that no question can be about is allowed to nobody."""
        text, params = self._text(compiler, connection)
        return ref_columns.legal(text, params, self.columns, connection)

    def _unseen(self, rule: Rule, decide: Callable[[str], bool]) -> list[str]:
        """The refs of rows that the platform has never seen, where a condition tells them apart."""
        found: list[str] = []
        refs = self.rows.order_by().values_list(self.columns.text, flat=True).distinct()
        part: list[str] = []
        for ref in refs.iterator(chunk_size=PART):
            if ref is not None and ref_columns.is_legal(ref):
                part.append(ref)
            if len(part) == PART:
                found += _decided(rule, decide, part)
                part = []
        return found + _decided(rule, decide, part)


def _decided(rule: Rule, decide: Callable[[str], bool], refs: list[str]) -> list[str]:
    stored = below.stored(rule, refs) if refs else set()
    return [ref for ref in refs if ref not in stored and decide(ref)]
