"""Single rows by statements that are built once: for what every question reads and writes.

The ORM takes longer to build such a statement than SQLite to carry it out, and builds it anew each time (ADR 0007).
Columns and conversions are the models' own; no signals are sent. Values have the types of their fields, which the ORM
would also accept from a form: text, numbers and truth are handed on as they are. Everything else belongs to the ORM.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, TypeVar, cast

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import BooleanField, CharField, DateTimeField, Field, ForeignKey, IntegerField, Model, TextField

M = TypeVar("M", bound=Model)

Converter = Callable[..., Any]
Prepare = Callable[[Any, BaseDatabaseWrapper], Any]

# Their values are what a driver takes.
PLAIN = (BooleanField, CharField, IntegerField, TextField)


def insert(row: M) -> M:
    """Insert a new row and return it, with the id that the database chose. Raises IntegrityError as `save` does."""
    connection = connections[DEFAULT_DB_ALIAS]
    columns, chosen, statement = _insertion(type(row), connection.vendor)
    values = []
    for name, fill, prepare in columns:
        value = fill(row, True) if fill else getattr(row, name)
        values.append(prepare(value, connection) if prepare and value is not None else value)
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        if chosen is not None:
            setattr(row, chosen, cursor.fetchone()[0])
    row._state.adding, row._state.db = False, DEFAULT_DB_ALIAS
    return row


def update(model: type[Model], values: Mapping[str, Any], where: str, arguments: Sequence[Any]) -> int:
    """Set columns, by the names of their fields, in the rows for which `where` holds; return how many those were.

    `where` is SQL of ours about columns of the model's table, `arguments` what its placeholders stand for.
    """
    connection = connections[DEFAULT_DB_ALIAS]
    columns, statement = _change(model, tuple(values), where)
    saved = [
        prepare(values[name], connection) if prepare and values[name] is not None else values[name]
        for name, prepare in columns
    ]
    with connection.cursor() as cursor:
        cursor.execute(statement, [*saved, *arguments])
        return int(cursor.rowcount)


def read(model: type[M], pk: Any) -> M | None:
    """Return the row with this primary key, None when there is none."""
    connection = connections[DEFAULT_DB_ALIAS]
    names, converters, statement = _selection(model, connection.vendor)
    with connection.cursor() as cursor:
        cursor.execute(statement, [_key(model).get_db_prep_value(pk, connection)])
        found = cursor.fetchone()
    if found is None:
        return None
    values = list(found)
    for position, expression, converts in converters:
        for convert in converts:
            values[position] = convert(values[position], expression, connection)
    return model.from_db(DEFAULT_DB_ALIAS, names, values)


@cache
def _insertion(
    model: type[Model], vendor: str
) -> tuple[list[tuple[str, Converter | None, Prepare | None]], str | None, str]:
    own: Any = model._meta.auto_field
    fields = [cast("Any", field) for field in model._meta.local_concrete_fields if field is not own]
    names, places = ", ".join(f'"{field.column}"' for field in fields), ", ".join(["%s"] * len(fields))
    statement = f'INSERT INTO "{model._meta.db_table}" ({names}) VALUES ({places})'  # noqa: S608 - our own names
    columns = [(field.attname, _fill(field), _prepare(field)) for field in fields]
    return columns, own and own.attname, statement + (f' RETURNING "{own.column}"' if own else "")


@cache
def _change(model: type[Model], names: tuple[str, ...], where: str) -> tuple[list[tuple[str, Prepare | None]], str]:
    fields = [cast("Any", model._meta.get_field(name)) for name in names]
    changes = ", ".join(f'"{field.column}" = %s' for field in fields)
    statement = f'UPDATE "{model._meta.db_table}" SET {changes} WHERE {where}'  # noqa: S608 - our own names
    return [(field.name, _prepare(field)) for field in fields], statement


def _fill(field: Any) -> Converter | None:
    """Return what a field fills in by itself, None when it does not."""
    return None if type(field).pre_save in (Field.pre_save, ForeignKey.pre_save) else field.pre_save


def _prepare(field: Any) -> Prepare | None:
    """Return what makes a value one that the driver takes, None when it is one."""
    while isinstance(field, ForeignKey):
        field = field.target_field
    if isinstance(field, PLAIN):
        return None
    if isinstance(field, DateTimeField):
        return lambda value, connection: connection.ops.adapt_datetimefield_value(value)
    return cast("Prepare", field.get_db_prep_save)


@cache
def _selection(model: type[Model], vendor: str) -> tuple[list[str], list[tuple[int, Any, list[Converter]]], str]:
    connection = connections[DEFAULT_DB_ALIAS]
    fields, key = model._meta.concrete_fields, _key(model)
    converters = []
    for position, field in enumerate(fields):
        expression = cast("Any", field).cached_col
        converts = connection.ops.get_db_converters(expression) + expression.get_db_converters(connection)
        if converts:
            converters.append((position, expression, converts))
    columns = ", ".join(f'"{field.column}"' for field in fields)
    statement = f'SELECT {columns} FROM "{model._meta.db_table}" WHERE "{key.column}" = %s'  # noqa: S608 - our own names
    return [field.attname for field in fields], converters, statement


def _key(model: type[Model]) -> Any:
    return model._meta.pk
