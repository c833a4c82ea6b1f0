"""Options for every field of the configuration. Only their help needs tyro, which is imported for it alone."""

import argparse
import contextlib
import dataclasses
import io
import json
import shutil
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from bisim_theory.console import print_result

from pjepa_agent.config.presets import PRESETS
from pjepa_agent.config.schema import Config

HEADING = (
    "Every field of config.json is an option too. Defaults are those of the preset {preset}; for those of another: "
    "pjepa-train --preset NAME --help."
)


class Override(argparse.Action):
    """Collect overrides ``section.field=value``, of ``--set`` or of the option of the field in `const`."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """Append the override, and keep the option that gave it."""
        override = str(values) if self.const is None else f"{self.const}={values}"
        setattr(namespace, self.dest, [*(getattr(namespace, self.dest) or []), override])
        namespace.overridden_by = option_string


class Help(argparse.Action):
    """Print the help of the parser and of every field, with the defaults of the preset, and exit."""

    def __init__(self, option_strings: Sequence[str], dest: str, **options: Any) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, default=argparse.SUPPRESS, **options)

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """Print and exit with status 0."""
        preset = namespace.preset or "laptop"
        heading = textwrap.fill(HEADING.format(preset=preset), shutil.get_terminal_size().columns - 2)
        with contextlib.suppress(OSError):  # a pager may not read to the end
            print_result(f"{parser.format_help()}\n{heading}\n\n{fields_help(PRESETS[preset])}")
        parser.exit()


def add_field_options(parser: argparse.ArgumentParser, dest: str) -> None:
    """Add ``--section.field-name VALUE`` for every field of every section, without help of its own."""
    for section, kind in _sections(Config()).items():
        for field in dataclasses.fields(kind):
            name = f"{section}.{field.name}"
            spellings = dict.fromkeys([f"--{name.replace('_', '-')}", f"--{name}"])
            parser.add_argument(
                *spellings, action=Override, const=name, dest=dest, metavar="VALUE", help=argparse.SUPPRESS
            )


def fields_help(config: Config) -> str:
    """Format the docstrings of all fields, with the values of a configuration as defaults, by tyro."""
    import tyro

    sections = {name: _as_text(section) for name, section in _sections(config).items()}
    fields = dataclasses.make_dataclass("Fields", [(name, type(section)) for name, section in sections.items()])
    page = io.StringIO()
    with contextlib.redirect_stdout(page), contextlib.suppress(SystemExit):
        tyro.cli(fields, default=fields(**sections), args=["--help"], config=(tyro.conf.FlagConversionOff,))
    lines = [line.rstrip() for line in page.getvalue().splitlines()]
    # tyro's own usage and -h stand before the first section.
    start = next(number for number, line in enumerate(lines) if f"{next(iter(sections))} options" in line)
    return "\n".join(lines[start:])


def _as_text(section: Any) -> Any:
    """Copy a section with JSON objects as text, since tyro offers no option for them."""
    values = {field.name: getattr(section, field.name) for field in dataclasses.fields(section)}
    objects = {name: json.dumps(value) for name, value in values.items() if isinstance(value, dict)}
    if not objects:
        return section
    kind = type(section)
    fields = [(name, str, dataclasses.field(default=value)) for name, value in objects.items()]
    return dataclasses.make_dataclass(kind.__name__, fields, bases=(kind,), frozen=True)(**values | objects)


def _sections(config: Config) -> Mapping[str, Any]:
    values = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    return {name: value for name, value in values.items() if dataclasses.is_dataclass(value)}
