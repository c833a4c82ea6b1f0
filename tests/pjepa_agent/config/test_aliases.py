"""A configuration of version 0.1 is read under today's names, and its names go on working after ``--set``."""

import dataclasses
import json
from pathlib import Path

import pytest
from pjepa_agent.config.aliases import RENAMED
from pjepa_agent.config.fields import ConfigError
from pjepa_agent.config.schema import Config

OLD_RUN = Path(__file__).parents[1] / "runs" / "run_of_0_1" / "config.json"
OLD_SWITCHES = ("channels_last", "dense", "fused")


def value_of(config, name):
    section, field = name.split(".")
    return getattr(getattr(config, section), field)


def test_today_has_every_new_name_and_no_old_one():
    fields = {
        f"{name}.{field}" for name, each in Config().to_dict().items() if isinstance(each, dict) for field in each
    }
    assert set(RENAMED.values()) <= fields
    assert not set(RENAMED) & fields


def test_a_file_of_before_is_read_silently_and_nothing_of_it_is_lost(caplog):
    old = json.loads(OLD_RUN.read_text())
    config = Config.from_dict(old)
    assert caplog.text == ""
    for section, fields in old.items():
        if not isinstance(fields, dict):
            assert getattr(config, section) == fields
            continue
        for field, value in fields.items():
            name = f"{section}.{field}"
            assert value_of(config, RENAMED.get(name, name)) == value, name
    assert config.ablation.pixel_offset == -0.25
    assert Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize("off", [[], *([name] for name in OLD_SWITCHES), list(OLD_SWITCHES)])
def test_old_switches_are_on_only_if_all_of_them_were(off):
    switches = {name: name not in off for name in OLD_SWITCHES}
    assert Config.from_dict({"compute": switches}).compute.fast_paths == (not off)
    overrides = [f"compute.{name}={json.dumps(value)}" for name, value in switches.items()]
    assert Config().override(overrides).compute.fast_paths == (not off)


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_an_old_name_in_an_override_is_logged_with_the_new_one(old, new, caplog):
    before = value_of(Config(), new)
    other = {bool: False, int: 40, float: 0.25, str: "image" if new.endswith("scale") else "batch"}[type(before)]
    if new == "compute.frame_storage":
        other = "host"
    config = Config(collection=dataclasses.replace(Config().collection, online=True))
    assert value_of(config.override(["optimization.batch_size=20", f"{old}={json.dumps(other)}"]), new) == other
    assert caplog.messages == [f"{old} is now {new}; its old name goes with the next version"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"network": {"black": "dark"}}, "ablation.pixel_offset='dark': must be of type float"),
        ({"network": {"white": 1.0}}, "network.white: is no field"),
        ({"network": {"black": 0.0}, "ablation": 3}, "ablation: must be an object, is 3"),
        ({"network": {"black": 0.0}, "ablation": {"pixel_offset": 0.0}}, "network.black: is no field"),
        ({"compute": {"dense": True, "fused": 3}}, "compute.fast_paths=3: must be of type bool"),
        ({"shades": {}}, "shades: is no field"),
        ([], r"the configuration: must be an object, is \[\]"),
    ],
)
def test_what_is_wrong_is_named_as_ever(values, message):
    with pytest.raises(ConfigError, match=message):
        Config.from_dict(values)
