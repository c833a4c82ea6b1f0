"""Every field of the configuration is an option with help, and errors stay one line."""

import ast
import dataclasses
import functools
import inspect
import itertools
import json
import subprocess
import sys

import pytest
from pjepa_agent.cli.train import configure, main, make_parser
from pjepa_agent.config import schema
from pjepa_agent.config.presets import PRESETS
from support.commands import run_command

run = functools.partial(run_command, main)

SECTIONS = {
    field.name: field.type for field in dataclasses.fields(schema.Config) if dataclasses.is_dataclass(field.type)
}


def docstrings(kind):
    """The docstring below each field of a dataclass, read from its source."""
    body = ast.parse(inspect.getsource(kind)).body[0].body
    return {
        field.target.id: text.value.value
        for field, text in itertools.pairwise(body)
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr)
    }


def configured(*arguments):
    return configure(make_parser().parse_args(arguments))


@pytest.mark.parametrize("preset", PRESETS)
def test_help_lists_every_field_with_its_docstring_and_the_presets_default(preset, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    status, out, err = run(capsys, "--preset", preset, "--help")
    assert (status, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    said = " ".join(out.split())
    assert said.index("--resume DIR") < said.index("--collection.environment")
    for section, kind in SECTIONS.items():
        documented = docstrings(kind)
        for field in dataclasses.fields(kind):
            default = getattr(getattr(PRESETS[preset], section), field.name)
            if default in ("", {}):  # quoted, as a shell wants them
                default = repr(str(default))
            assert f"--{section}.{field.name.replace('_', '-')} " in said
            assert f"{documented[field.name]} (default: {default})" in said, field.name


def test_a_field_is_set_by_its_option_as_by_set():
    values = schema.Config().to_dict()
    fields = [(section, field.name) for section, kind in SECTIONS.items() for field in dataclasses.fields(kind)]
    assert len(fields) > 60
    for section, name in fields:
        value = json.dumps(values[section][name])
        by_option = make_parser().parse_args([f"--{section}.{name.replace('_', '-')}={value}"])
        by_config_name = make_parser().parse_args([f"--{section}.{name}", value])
        by_set = make_parser().parse_args(["--set", f"{section}.{name}={value}"])
        assert by_option.set == by_config_name.set == by_set.set


def test_the_last_of_several_settings_counts():
    arguments = ["--updates", "5", "--set", "optimization.updates=6", "--optimization.updates", "7"]
    assert configured(*arguments).optimization.updates == 7
    assert configured(*arguments, "--set", "optimization.updates=8").optimization.updates == 8
    config = configured("--preset", "paper", "--ablation.pixel-offset", "-0.25", "--compute.fast-paths", "False")
    assert (config.preset, config.ablation.pixel_offset, config.compute.fast_paths) == ("paper", -0.25, False)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("None", None), ("null", None), ("True", True), ("true", True), ("False", False), ("0.5", 0.5),
        ("none", "none"), ('"None"', "None"), ("[1, 2]", [1, 2]), ("kitchen", "kitchen"),
    ],
)  # fmt: skip
def test_arguments_are_json_python_constants_or_text(text, value):
    for option, arguments in [
        ("--env-arg", lambda config: config.collection.arguments),
        ("--objective-arg", lambda config: config.objective.arguments),
    ]:
        found = arguments(configured("--env", "X-v0", "--objective", "tdmpc2", option, f"n={text}"))
        assert found == {"n": value}
        assert type(found["n"]) is type(value)


def test_an_old_name_after_set_works_and_says_the_new_one(caplog):
    assert configured("--set", "optimization.averaging=0.1").optimization.averaging_age == 0.1
    assert caplog.messages == [
        "optimization.averaging is now optimization.averaging_age; its old name goes with the next version"
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--optimization.learning-rate"], "argument --optimization.learning-rate"),
        (["--optimization.learning-rate", "fast"], "optimization.learning_rate='fast': must be of type float"),
        (["--optimization.learning-rate", "-1e-3"], "argument --optimization.learning-rate"),
        (["--optimization.learning-rate=-1e-3"], "optimization.learning_rate=-0.001: must be in 0..1000"),
        (["--optimization.learning", "0.1"], "unrecognized arguments: --optimization.learning 0.1"),
        (["--optimization.averaging", "0.1"], "unrecognized arguments: --optimization.averaging 0.1"),
        (["--network.stem", "wide"], "network.stem='wide': must be one of pooled, strided"),
        (["--compute.fast-paths", "no"], "compute.fast_paths='no': must be of type bool: true or false"),
        (["--resume", "runs/A", "--network.width", "3"], "--network.width: a resumed run keeps its own"),
    ],
)
def test_an_error_is_one_line(arguments, message, capsys):
    status, out, err = run(capsys, *arguments)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("pjepa-train: error: ")
    assert message in err


def test_only_help_imports_tyro():
    code = "import sys; from pjepa_agent.cli.train import configure, make_parser\n"
    code += (
        "configure(make_parser().parse_args(['--preset', 'paper', '--network.width=3', '--set', 'network.blocks=1']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nprint('tyro' in sys.modules)"], capture_output=True, text=True
    )
    assert done.stdout == "False\n", done.stderr
