"""Dataclasses from plain dictionaries, every field checked by its declared type."""

import copy
import dataclasses
import json
import typing
from collections.abc import Iterable
from typing import Any, Literal


class ConfigError(ValueError):
    """A configuration that cannot be used; the message names the field and what is allowed."""


def from_plain(kind: Any, values: Any, prefix: str = "") -> Any:
    """A dataclass from what `dataclasses.asdict` made of one; fields that are not there keep their defaults.

    Args:
        kind: the dataclass.
        values: a dictionary of dictionaries, numbers and strings, as JSON has them.
        prefix: put before the names of fields in messages.

    Raises:
        ConfigError: a field is unknown or of another type; the message names it.
    """
    if not isinstance(values, dict):
        raise ConfigError(f"{prefix.rstrip('.') or 'the configuration'}: must be an object, is {values!r}")
    hints = typing.get_type_hints(kind)
    for name in values:
        if name not in hints:
            raise ConfigError(f"{prefix}{name}: is no field of the configuration")
    return kind(**{name: _value(hints[name], value, prefix + name) for name, value in values.items()})


def _value(kind: Any, value: Any, name: str) -> Any:
    if dataclasses.is_dataclass(kind):
        return from_plain(kind, value, name + ".")
    if typing.get_origin(kind) is Literal:
        allowed = typing.get_args(kind)
        if value not in allowed:
            raise ConfigError(f"{name}={value!r}: must be one of {', '.join(map(str, allowed))}")
        return value
    accepted = (int, float) if kind is float else kind
    if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
        raise ConfigError(f"{name}={value!r}: must be of type {kind.__name__}")
    return value


def assigned(values: dict[str, Any], assignments: Iterable[str]) -> dict[str, Any]:
    """Plain dictionaries with some fields changed, for `from_plain` to check.

    Args:
        values: a dictionary of sections, each a dictionary of fields.
        assignments: ``section.field=value``, the value as JSON has it or, where it is none, a string.

    Raises:
        ConfigError: an assignment has another form.
    """
    values = copy.deepcopy(values)
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        section, _, field = name.partition(".")
        if not (equals and field and isinstance(values.get(section), dict)):
            sections = ", ".join(key for key, value in values.items() if isinstance(value, dict))
            raise ConfigError(f"{assignment!r}: must be SECTION.FIELD=VALUE, the section one of {sections}")
        try:
            values[section][field] = json.loads(text)
        except ValueError:
            values[section][field] = text
    return values
