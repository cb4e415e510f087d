"""Filters on metadata: a JSON object becomes an SQL condition with parameters, never with text of the caller.

``{"year": 2024}`` matches by containment; ``{"year": {"$gte": 2020, "$lt": 2025}}`` compares; ``$in`` takes a list,
``$ne`` excludes. All fields must match. Numbers compare with numbers and texts with texts. A value also matches a list
that has it, as in other document stores; a list matches lists that have all of its values.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from psycopg.types.json import Jsonb

from datadistiller import errors

_COMPARE = {"$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}
MOST_FIELDS = 32
_MOST_VALUES = 1000


def condition(filter: Mapping[str, Any]) -> tuple[str, dict[str, object]]:
    """The condition (starting with AND, or empty) and its parameters. Raises ``errors.InvalidRequest``."""
    if len(filter) > MOST_FIELDS:
        raise errors.InvalidRequest(f"A filter may name at most {MOST_FIELDS} fields.")
    parts: list[str] = []
    values: dict[str, object] = {}
    for field, wanted in filter.items():
        if field.startswith("$"):  # as a field it would match nothing, and nobody would know why
            raise errors.InvalidRequest(f"'{field}' stands where a filter names a field; there is no such operator.")
        if isinstance(wanted, Mapping) and any(str(key).startswith("$") for key in wanted):
            for operator, operand in wanted.items():
                _operator(field, operator, operand, parts, values)
        else:
            parts.append(_has(field, wanted, values))
    return "".join(f" AND {part}" for part in parts), values


def _operator(field: str, operator: str, operand: object, parts: list[str], values: dict[str, object]) -> None:
    if operator == "$in":
        if not isinstance(operand, list) or len(operand) > _MOST_VALUES:
            raise errors.InvalidRequest(f"$in of field '{field}' needs a list of at most {_MOST_VALUES} values.")
        any_of = [_has(field, value, values) for value in operand]
        parts.append(f"({' OR '.join(any_of)})" if any_of else "false")
    elif operator == "$ne":
        parts.append(f"NOT {_has(field, operand, values)}")
    elif operator in _COMPARE:
        if isinstance(operand, bool) or not isinstance(operand, int | float | str):
            raise errors.InvalidRequest(f"{operator} of field '{field}' needs a number or a text.")
        key = f"k{len(values)}"
        values[key] = field
        # jsonb orders numbers and texts among themselves; the type must agree.
        kind = "string" if isinstance(operand, str) else "number"
        name = f"j.metadata->%({key})s::text"
        bound = _parameter(operand, values)
        parts.append(f"(jsonb_typeof({name}) = '{kind}' AND {name} {_COMPARE[operator]} {bound})")
    else:
        known = ", ".join(["$in", "$ne", *_COMPARE])
        raise errors.InvalidRequest(f"The filter operator '{operator}' is not known; known are {known}.")


def _has(field: str, value: object, values: dict[str, object]) -> str:
    """The field is the value, or a list with it. Both ways are containment, which the index on metadata knows."""
    alone = f"j.metadata @> {_parameter({field: value}, values)}"
    if isinstance(value, list):
        return alone
    return f"({alone} OR j.metadata @> {_parameter({field: [value]}, values)})"


def _parameter(value: object, values: dict[str, object]) -> str:
    key = f"v{len(values)}"
    values[key] = Jsonb(value)
    return f"%({key})s::jsonb"
