"""How the rows of a model are called, as SQL: the same text that Python makes of an instance, or a clear refusal to make one."""

# The SQL of `legal` is put together from constants of this module and an expression that Django compiled.
# ruff: noqa: S608

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal
from uuid import UUID

from django.core.exceptions import FieldDoesNotExist
from django.db.models import F, Field, ForeignKey, Func, QuerySet, TextField, Value
from django.db.models.functions import Cast

from permissions.engine import names
from permissions.entities import ResourceRef, is_legal
from permissions.lookup.below import Sql

__all__ = ["RefColumns", "is_legal", "legal", "of"]

Shape = Literal["int", "uuid", "text"]
_SHAPES: Final[dict[str, Shape]] = {
    **dict.fromkeys(
        (
            "AutoField",
            "BigAutoField",
            "SmallAutoField",
            "IntegerField",
            "BigIntegerField",
            "SmallIntegerField",
            "PositiveIntegerField",
            "PositiveBigIntegerField",
            "PositiveSmallIntegerField",
        ),
        "int",
    ),
    "UUIDField": "uuid",
    **dict.fromkeys(("CharField", "TextField", "SlugField"), "text"),
}
# What Python takes for a space at the end of a text.
_SPACES: Final = "".join(chr(c) for c in range(0x3001) if chr(c).isspace())


@dataclass(slots=True)
class RefColumns:
    """`text`: the ref as an expression. `only`: the one column that the whole id is, if it is one, and its field."""

    ref: ResourceRef
    text: Any
    is_text: bool
    only: str = ""
    field: Any = None
    shape: Shape = "text"

    def values_of(self, refs: list[str], connection: Any) -> list[Any]:
        """The values of the column. A ref that no row can have is left out: `post:07` is not what row 7 is called."""
        found = []
        for ref in refs:
            value = _value(names.split_ref(ref)[1], self.shape)
            if value is None or (isinstance(value, int) and not _fits(value, self.field, connection)):
                continue
            prepared = self.field.get_db_prep_value(value, connection, prepared=False)
            if self.shape == "text" and prepared != value:
                continue  # a field that writes texts its own way would find a row of another name
            found.append(prepared)
        return found


def of(rows: QuerySet[Any], ref: ResourceRef) -> RefColumns:
    """Raises TypeError for a field that has no text, or that databases and Python write differently."""
    pieces: list[Any] = []
    shapes: list[Shape] = []
    last: Field[Any, Any] | None = None
    head = f"{ref.kind}:"
    for text, path in ref.parts:
        head += text
        if path:
            last = _field(rows, path)
            shape = _shape(last, path, rows)
            if head:
                pieces.append(Cast(Value(head), TextField()))
            head = ""
            pieces.append(_UUIDText(F(path)) if shape == "uuid" else Cast(F(path), TextField()))
            shapes.append(shape)
    if head:
        pieces.append(Cast(Value(head), TextField()))
    is_only = len(shapes) == 1 and [text for text, _ in ref.parts] == [""]
    # With a collation of its own a column may take two texts for one: then the text is compared, byte by byte.
    if is_only and getattr(last, "db_collation", None):
        is_only = False
    return RefColumns(
        ref,
        Func(*pieces, arg_joiner=" || ", template="%(expressions)s", output_field=TextField()),
        "text" in shapes,
        ref.parts[0][1] if is_only else "",
        _target(last) if is_only else None,
        shapes[0],
    )


class _UUIDText(Func):
    """As Python writes it, also where the database keeps 32 hex digits."""

    output_field = TextField()

    def as_sql(self, compiler: Any, connection: Any, **_extra: Any) -> tuple[str, list[Any]]:  # type: ignore[override]
        text, params = compiler.compile(self.source_expressions[0])
        if connection.features.has_native_uuid_field:
            return f"{text}::text", list(params)
        places = ((1, 8), (9, 4), (13, 4), (17, 4), (21, 12))
        return " || '-' || ".join(f"substr({text}, {at}, {size})" for at, size in places), [*params] * len(places)


def _field(rows: QuerySet[Any], path: str) -> Field[Any, Any]:
    first, *others = path.split("__")
    annotation = rows.query.annotations.get(first)
    if annotation is not None and not others:
        found: Field[Any, Any] = annotation.output_field
        return found
    meta: Any = rows.model._meta
    field: Any = None
    for name in (first, *others):
        if field is not None:
            if not isinstance(field, ForeignKey):
                raise TypeError(f"{path!r} follows {field}, which leads to no single row")
            meta = field.related_model._meta
        try:
            field = meta.pk if name == "pk" else meta.get_field(name)
        except FieldDoesNotExist as error:
            raise TypeError(f"{rows.model.__name__} has no field {path!r}") from error
    return field  # type: ignore[no-any-return]


def _target(field: Any) -> Any:
    while isinstance(field, ForeignKey):
        field = field.target_field
    return field


def _shape(field: Any, path: str, rows: QuerySet[Any]) -> Shape:
    target = _target(field)
    shape = _SHAPES.get(target.get_internal_type() if isinstance(target, Field) else "")
    if shape is None or hasattr(target, "from_db_value"):
        raise TypeError(
            f"{rows.model.__name__}.{path} is a {type(target).__name__}: only whole numbers, UUIDs and texts name a "
            "resource alike in Python and in SQL"
        )
    return shape


def _value(ident: str, shape: Shape) -> int | UUID | str | None:
    try:
        value: int | UUID | str = int(ident) if shape == "int" else UUID(ident) if shape == "uuid" else ident
    except ValueError:
        return None
    return value if str(value) == ident else None


def _fits(value: int, field: Any, connection: Any) -> bool:
    low, high = connection.ops.integer_field_range(field.get_internal_type())
    return (low is None or value >= low) and (high is None or value <= high)


def legal(text: str, params: list[Any], columns: RefColumns, connection: Any) -> Sql:
    """Whether the row has a name that a question can carry: `engine.names.check_ref` in SQL. A null is none."""
    if not columns.is_text:
        return Sql(f"{text} IS NOT NULL", list(params))
    if connection.vendor != "postgresql":
        connection.ensure_connection()
        connection.connection.create_function("permissions_is_ref", 1, _is_ref, deterministic=True)
        return Sql(f"permissions_is_ref({text})", list(params))
    # Computed once: the expression may hold parameters, and stands in each of the checks.
    ident = f"substr(n.ref, {len(columns.ref.kind) + 2:d})"
    checks = (
        f"{ident} NOT IN ('', '*') AND length(n.ref) <= {names.MAX_REF:d} AND n.ref IS NFC NORMALIZED "
        f"AND n.ref !~ '[\\u0001-\\u001f\\u007f-\\u009f]' AND btrim({ident}, %s) = {ident}"
    )
    return Sql(f"(SELECT {checks} FROM (SELECT {text} AS ref) n)", [_SPACES, *params])


def _is_ref(ref: object) -> bool:
    return isinstance(ref, str) and is_legal(ref)
