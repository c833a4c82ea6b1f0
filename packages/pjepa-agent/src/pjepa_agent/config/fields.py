"""Read dataclasses from plain dictionaries, and check every field by its declared type and bounds."""

import copy
import dataclasses
import functools
import json
import logging
import re
import typing
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pjepa_agent.config.aliases import RENAMED, rename_fields

logger = logging.getLogger("pjepa_agent")


DEVICES = "auto, cpu, cuda, or cuda:N for the GPU of number N"
"""Names of devices, in words."""


class ConfigError(ValueError):
    """A configuration that cannot be used; the message names the field and what is allowed."""


@dataclasses.dataclass(frozen=True)
class Between:
    """Bounds of a number, both allowed: ``batch_size: Annotated[int, Between(2, 2**20)]``."""

    least: float
    most: float

    def __contains__(self, value: float) -> bool:
        return self.least <= value <= self.most  # NaN is not

    def __str__(self) -> str:
        return f"{_exact(self.least)}..{_exact(self.most)}"


def _exact(bound: float) -> str:
    """Format a bound without rounding it."""
    short = f"{bound:g}"
    return short if float(short) == bound else str(bound)


def is_device(name: str) -> bool:
    """Return whether a text names a device, which need not be there."""
    return re.fullmatch(r"auto|cpu|cuda(:(0|[1-9][0-9]{0,3}))?", name, re.ASCII) is not None


def from_dict(kind: Any, values: Any, prefix: str = "") -> Any:
    """Build a dataclass from what `dataclasses.asdict` made of one. Absent fields keep their defaults.

    Args:
        kind: the dataclass.
        values: a dictionary of dictionaries, numbers and strings, as JSON has them.
        prefix: put before the names of fields in messages.

    Raises:
        ConfigError: a field is unknown or of another type; the message names it.
    """
    if not isinstance(values, dict):
        raise ConfigError(f"{prefix.rstrip('.') or 'the configuration'}: must be an object, is {values!r}")
    kinds = _kinds(kind)
    for name in values:
        if name not in kinds:
            others = f"; there are {', '.join(kinds)}" if kinds else "; there are none"
            raise ConfigError(f"{prefix}{name}: is no field of the configuration{others if prefix else ''}")
    return kind(**{name: _value(kinds[name], value, prefix + name) for name, value in values.items()})


def _value(kind: Any, value: Any, name: str) -> Any:
    if dataclasses.is_dataclass(kind):
        return from_dict(kind, value, name + ".")
    kind, _ = split_bounds(kind)
    if typing.get_origin(kind) is Literal:
        allowed = typing.get_args(kind)
        if value not in allowed:
            raise ConfigError(f"{name}={value!r}: must be one of {', '.join(map(str, allowed))}")
        return value
    if typing.get_origin(kind) is dict:
        if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
            raise ConfigError(f"{name}={value!r}: must be a JSON object")
        return value
    accepted = (int, float) if kind is float else kind
    if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
        named = "bool: true or false" if kind is bool else kind.__name__
        raise ConfigError(f"{name}={value!r}: must be of type {named}")
    return value


def check_bounds(config: Any, prefix: str = "") -> None:
    """Check every number of a dataclass, and of those inside it, against the bounds at its field.

    Raises:
        ConfigError: a number is outside its bounds; the message names field and bounds.
    """
    declared: Any = type(config)
    for name, kind in _kinds(declared).items():
        value = getattr(config, name)
        if dataclasses.is_dataclass(kind):
            check_bounds(value, prefix + name + ".")
            continue
        _, bounds = split_bounds(kind)
        if bounds is not None and value not in bounds:
            raise ConfigError(f"{prefix}{name}={value}: must be in {bounds}")


def split_bounds(kind: Any) -> tuple[Any, Between | None]:
    """Split the declared type of a field into the bare type and its bounds, if it has any."""
    if typing.get_origin(kind) is not Annotated:
        return kind, None
    bare, *metadata = typing.get_args(kind)
    return bare, next((each for each in metadata if isinstance(each, Between)), None)


@functools.cache
def _kinds(kind: Any) -> Mapping[str, Any]:
    """Declared types of a dataclass's fields, with their annotations."""
    return typing.get_type_hints(kind, include_extras=True)


def apply_overrides(values: dict[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """Copy plain dictionaries with some fields changed, for `from_dict` to check. Old names are logged with today's.

    Args:
        values: a dictionary of sections, each a dictionary of fields.
        overrides: ``section.field=value``, the value in JSON or, where it is no JSON, a string.

    Raises:
        ConfigError: an override has another form.
    """
    changes: dict[str, dict[str, Any]] = {}
    for override in overrides:
        name, equals, text = override.partition("=")
        section, _, field = name.partition(".")
        if not (equals and field and isinstance(values.get(section), dict)):
            sections = ", ".join(key for key, value in values.items() if isinstance(value, dict))
            raise ConfigError(f"{override!r}: must be SECTION.FIELD=VALUE, the section one of {sections}")
        if name in RENAMED:
            logger.warning("%s is now %s; its old name goes with the next version", name, RENAMED[name])
        changes.setdefault(section, {})[field] = parse_value(text)
    changed = copy.deepcopy(values)
    for section, fields in rename_fields(changes).items():
        changed[section] |= fields
    return changed


def parse_value(text: str) -> Any:
    """Parse the value of an override: JSON, Python's True, False or None, or else the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return {"True": True, "False": False, "None": None}.get(text, text)
