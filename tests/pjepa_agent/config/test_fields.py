"""Fields of the configuration: bounds stand at them, and are checked wherever a value comes from."""

import dataclasses
import math
import typing

import pytest
from pjepa_agent.config.fields import ConfigError, split_bounds
from pjepa_agent.config.schema import Config


def leaves(kind=Config, names=()):
    """Every field that is no section: its names from the top, and its declared type."""
    for name, declared in typing.get_type_hints(kind, include_extras=True).items():
        if dataclasses.is_dataclass(declared):
            yield from leaves(declared, (*names, name))
        else:
            yield (*names, name), declared


FIELDS = [(names, *split_bounds(declared)) for names, declared in leaves()]
NUMBERS = [field for field in FIELDS if field[1] in (int, float)]


def with_value(names, value):
    """The default configuration with one field replaced, without going through `from_dict`."""
    config = Config()
    if len(names) == 1:
        return dataclasses.replace(config, **{names[0]: value})
    section, name = names
    return dataclasses.replace(config, **{section: dataclasses.replace(getattr(config, section), **{name: value})})


def test_every_number_has_bounds():
    assert len(NUMBERS) > 40
    assert [".".join(names) for names, _, bounds in NUMBERS if bounds is None] == []


@pytest.mark.parametrize(("names", "kind", "bounds"), NUMBERS, ids=[".".join(names) for names, *_ in NUMBERS])
def test_a_number_outside_its_bounds_is_refused(names, kind, bounds):
    outside = [bounds.least - 1, 2 * bounds.most + 1, *([math.nan, math.inf] if kind is float else [])]
    for value in map(kind, outside):
        with pytest.raises(ConfigError) as caught:
            with_value(names, value)
        assert str(caught.value) == f"{'.'.join(names)}={value}: must be in {bounds}"
