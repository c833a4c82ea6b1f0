import dataclasses
import json

import pytest
from bisim_theory.data.action_codes import ActionCodes
from bisim_theory.data.bins import Bins
from pjepa_agent.config.schema import CollectionConfig
from pjepa_agent.envs.base import Spec, SpecError
from pjepa_agent.envs.counting import SPEC, CountingDomain
from pjepa_agent.runs.directory import RunDirectory, RunError


def test_the_spec_of_the_counting_world_is_that_of_its_environment():
    environment = CountingDomain(CollectionConfig()).make_environment()
    assert environment.observation_space.shape == SPEC.observation_shape
    assert environment.observation_space.dtype == SPEC.observation_dtype
    assert environment.action_space.shape == (SPEC.action_dim,)


@pytest.mark.parametrize(
    "spec",
    [
        SPEC,
        Spec((4,), "float32", 2, (-1.0, 0.0), (1.0, 0.5)),
        Spec((210, 160, 12), "uint8", 18),
        Spec((4,), "float32", 2, action_codes=ActionCodes(signs=2)),
        Spec((4,), "float32", 1, (0.0,), (1.0,), action_codes=ActionCodes(bins=Bins(3, (0.0,), (1.0,)), of_space=True)),
        Spec((4,), "float32", 2, auxiliary_bins={"heat:bins:3": Bins(3, (0.0, -0.1), (0.0, 1e-300))}),
    ],
)
def test_a_run_keeps_its_spec(tiny, tmp_path, spec):
    run = RunDirectory.create(tmp_path / "run", tiny(), spec)
    assert RunDirectory(run.path).read_spec() == spec
    assert spec.images == (len(spec.observation_shape) == 3)


def test_a_spec_that_has_no_bins_yet_is_read(tiny, tmp_path):
    run = RunDirectory.create(tmp_path / "run", tiny())
    values = json.loads(run.spec.read_text())
    del values["auxiliary_bins"]
    assert values.pop("action_codes") == {"sign": 1}
    run.spec.write_text(json.dumps(values))
    assert run.read_spec() == dataclasses.replace(SPEC, action_codes=None)


def test_a_run_without_a_spec_is_of_the_counting_world(tiny, tmp_path):
    run = RunDirectory.create(tmp_path / "run", tiny())
    run.spec.unlink()
    assert run.read_spec() == SPEC


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"observation_shape": [64, 64]}, "observation_shape: must be (H, W, C) or (k,)"),
        ({"observation_shape": [64, 64, 0]}, "observation_shape"),
        ({"observation_shape": [64, 64, 2.0]}, "observation_shape"),
        ({"observation_shape": "64"}, "observation_shape: must be a list"),
        ({"action_low": [-1.0]}, "action_low: needs action_high too"),
        ({"action_low": [-1.0, 0.0], "action_high": [1.0, 1.0]}, "action_low: must be 1 finite numbers"),
        ({"action_low": [float("nan")], "action_high": [1.0]}, "action_low: must be 1 finite numbers"),
        ({"action_low": 3, "action_high": [1.0]}, "action_low: must be a list"),
        ({"observation_dtype": "object"}, "observation_dtype: must be uint8 or float32"),
        ({"observation_dtype": ["uint8"]}, "observation_dtype"),
        ({"action_dim": True}, "action_dim: must be a whole number from 1"),
        ({"action_dim": 10**9}, "action_dim"),
        ({"more": 1}, "must hold"),
        ({"auxiliary_bins": [1]}, "auxiliary_bins: must be an object"),
        ({"auxiliary_bins": {"a": {"count": 1, "low": [0.0], "high": [1.0]}}}, "auxiliary_bins: a: must hold count"),
        ({"auxiliary_bins": {"a": {"count": 2, "low": [0.0], "high": []}}}, "auxiliary_bins: a: must hold count"),
        ({"action_codes": {"sign": 2}}, "action_codes: must be signs or bins of 1 numbers"),
        ({"action_codes": {"one_hot": True}}, "action_codes: must be signs or bins of 1 numbers"),
        ({"action_codes": {"sign": True}}, "action_codes: must be null, or hold sign or bins"),
        ({"action_codes": "sign"}, "action_codes: must be null, or hold sign or bins"),
    ],
)
def test_a_damaged_spec_is_refused_in_one_line(tiny, tmp_path, change, message):
    values = json.loads(json.dumps(SPEC.to_dict())) | change
    with pytest.raises(SpecError) as caught:
        Spec.from_dict(values)
    assert message in str(caught.value)
    run = RunDirectory.create(tmp_path / "run", tiny())
    run.spec.write_text(json.dumps(values))
    with pytest.raises(RunError, match=r"spec\.json: cannot be read: .*; restore the file, or begin a new run"):
        run.read_spec()
    run.spec.write_text("{")
    with pytest.raises(RunError, match="it is no JSON"):
        run.read_spec()
