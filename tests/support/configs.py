"""Configurations with some values changed."""

import dataclasses


def with_sections(config, **sections):
    """The configuration with values by section, as ``with_sections(config, objective={"horizon": 3})``."""
    changed = {name: dataclasses.replace(getattr(config, name), **values) for name, values in sections.items()}
    return dataclasses.replace(config, **changed)
