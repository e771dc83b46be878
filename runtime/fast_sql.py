"""Insert, update and read single rows with cached SQL, for what every prompt needs.

The ORM takes longer to build such a statement than SQLite takes to run it, and builds it at each call (ADR 0007).
Columns and conversions come from the models; no signals are sent. Values must have the types of their fields: unlike
the ORM, these functions pass text, numbers and booleans on without a conversion. All other queries use the ORM.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, TypeVar, cast

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import (
    BooleanField,
    CharField,
    DateTimeField,
    Field,
    ForeignKey,
    IntegerField,
    JSONField,
    Model,
    TextField,
)
from django.db.models.base import ModelState

M = TypeVar("M", bound=Model)

Converter = Callable[..., Any]
Prepare = Callable[[Any, BaseDatabaseWrapper], Any]
Insertion = tuple[list[str], list[tuple[int, Converter]], list[tuple[int, Prepare]], str | None, str]

# Fields whose values go to the database driver without a conversion.
UNCONVERTED = (BooleanField, CharField, IntegerField, TextField)


def new(model: type[M], /, **values: Any) -> M:
    """Return a row with these values and the model's defaults, to be inserted.

    The constructor of a model takes longer than its insertion, most of it to allow for what no caller here needs.
    """
    row = model.__new__(model)
    state = vars(row)
    state["_state"] = ModelState()
    constants, functions, names, foreign_keys = _defaults(model)
    state.update(constants)
    for name, default in functions:
        if name not in values:
            state[name] = default()
    for name, value in values.items():
        if name in names:
            state[name] = value
        elif name in foreign_keys:
            state[foreign_keys[name]] = None if value is None else value.pk
            state["_state"].fields_cache[name] = value
        else:
            setattr(row, name, value)  # the row of another relation
    return row


def create(model: type[M], /, **values: Any) -> M:
    """Insert a row with these values and the model's defaults, and return it."""
    return insert(new(model, **values))


def insert(row: M) -> M:
    """Insert a new row and return it with its id; raise IntegrityError as `save` does."""
    connection = connections[DEFAULT_DB_ALIAS]
    names, filled, prepared, generated, statement = _insert_statement(type(row), connection.vendor)
    state = vars(row)
    values = [state[name] for name in names]
    for position, fill in filled:
        values[position] = fill(row, True)
    for position, prepare in prepared:
        if values[position] is not None:
            values[position] = prepare(values[position], connection)
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        if generated is not None:
            setattr(row, generated, cursor.lastrowid if connection.vendor == "sqlite" else cursor.fetchone()[0])
    row._state.adding, row._state.db = False, DEFAULT_DB_ALIAS
    return row


def update(model: type[Model], values: Mapping[str, Any], where: str, arguments: Sequence[Any]) -> int:
    """Set fields in the rows that match `where`; return the number of rows.

    `where` is SQL written in our code about columns of the model's table; `arguments` are the values of its
    placeholders. It must never contain a user's text.
    """
    connection = connections[DEFAULT_DB_ALIAS]
    columns, statement = _update_statement(model, tuple(values), where)
    saved = [
        prepare(values[name], connection) if prepare and values[name] is not None else values[name]
        for name, prepare in columns
    ]
    with connection.cursor() as cursor:
        cursor.execute(statement, [*saved, *arguments])
        return int(cursor.rowcount)


def read(model: type[M], pk: Any) -> M | None:
    """Return the row with this primary key, or None."""
    connection = connections[DEFAULT_DB_ALIAS]
    names, converters, statement = _select_statement(model, connection.vendor)
    with connection.cursor() as cursor:
        cursor.execute(statement, [cast("Any", model._meta.pk).get_db_prep_value(pk, connection)])
        row = cursor.fetchone()
    if row is None:
        return None
    values = list(row)
    for position, expression, converts in converters:
        for convert in converts:
            values[position] = convert(values[position], expression, connection)
    return model.from_db(DEFAULT_DB_ALIAS, names, values)


@cache
def _defaults(
    model: type[Model],
) -> tuple[dict[str, Any], list[tuple[str, Callable[[], Any]]], frozenset[str], dict[str, str]]:
    """Return constant defaults, functions for others, names of columns, columns of foreign keys."""
    constants, functions = {}, []
    for field in model._meta.concrete_fields:
        if field.has_default() and callable(field.default):
            functions.append((field.attname, field.default))
        elif field.has_default() or not field.has_db_default():
            constants[field.attname] = field.get_default()
        else:
            functions.append((field.attname, field.get_default))
    # Not noted at the other side of a one-to-one relation, because two rows that refer to each other are only freed by
    # the garbage collector.
    foreign_keys = {
        field.name: field.attname
        for field in model._meta.concrete_fields
        if isinstance(field, ForeignKey) and field.target_field.primary_key
    }
    return constants, functions, frozenset(field.attname for field in model._meta.concrete_fields), foreign_keys


@cache
def _insert_statement(model: type[Model], vendor: str) -> Insertion:
    """Return names of fields, functions for some of them, the generated field, and the SQL.

    The functions come with the places of their fields: first those that make a value, then those that convert one.
    """
    own: Any = model._meta.auto_field
    fields = [cast("Any", field) for field in model._meta.local_concrete_fields if field is not own]
    columns, places = ", ".join(f'"{field.column}"' for field in fields), ", ".join(["%s"] * len(fields))
    statement = f'INSERT INTO "{model._meta.db_table}" ({columns}) VALUES ({places})'  # noqa: S608 - our own names
    filled = [(position, fill) for position, field in enumerate(fields) if (fill := _fill(field))]
    prepared = [(position, prepare) for position, field in enumerate(fields) if (prepare := _prepare(field))]
    # SQLite knows the id without RETURNING, for which it makes a temporary table.
    returning = f' RETURNING "{own.column}"' if own and vendor != "sqlite" else ""
    names = [field.attname for field in fields]
    return names, filled, prepared, own and own.attname, statement + returning


@cache
def _update_statement(
    model: type[Model], names: tuple[str, ...], where: str
) -> tuple[list[tuple[str, Prepare | None]], str]:
    fields = [cast("Any", model._meta.get_field(name)) for name in names]
    changes = ", ".join(f'"{field.column}" = %s' for field in fields)
    statement = f'UPDATE "{model._meta.db_table}" SET {changes} WHERE {where}'  # noqa: S608 - our own names
    return [(field.name, _prepare(field)) for field in fields], statement


def _fill(field: Any) -> Converter | None:
    """Return the function by which a field sets its own value (`auto_now`), or None."""
    if isinstance(field, DateTimeField):
        return field.pre_save if field.auto_now or field.auto_now_add else None
    return None if type(field).pre_save in (Field.pre_save, ForeignKey.pre_save) else field.pre_save


def _prepare(field: Any) -> Prepare | None:
    """Return the function that converts a value for the driver, or None."""
    while isinstance(field, ForeignKey):
        field = field.target_field
    if isinstance(field, UNCONVERTED):
        return None
    if isinstance(field, DateTimeField):
        return lambda value, connection: connection.ops.adapt_datetimefield_value(value)
    if type(field) is JSONField:
        return lambda value, connection: connection.ops.adapt_json_value(value, field.encoder)
    return cast("Prepare", field.get_db_prep_save)


@cache
def _select_statement(model: type[Model], vendor: str) -> tuple[list[str], list[tuple[int, Any, list[Converter]]], str]:
    connection = connections[DEFAULT_DB_ALIAS]
    fields, key = model._meta.concrete_fields, cast("Any", model._meta.pk)
    converters = []
    for position, field in enumerate(fields):
        expression = cast("Any", field).cached_col
        converts = connection.ops.get_db_converters(expression) + expression.get_db_converters(connection)
        if converts:
            converters.append((position, expression, converts))
    columns = ", ".join(f'"{field.column}"' for field in fields)
    statement = f'SELECT {columns} FROM "{model._meta.db_table}" WHERE "{key.column}" = %s'  # noqa: S608 - our own names
    return [field.attname for field in fields], converters, statement
