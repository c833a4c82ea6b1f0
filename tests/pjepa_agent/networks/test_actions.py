"""What T is given of actions: their values, or their codes (`network.action`)."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from bisim_theory import DatasetError
from bisim_theory.data.action_codes import ActionCodes
from bisim_theory.data.bins import Bins
from bisim_theory.formats.actions import encode_values
from pjepa_agent import load
from pjepa_agent.config.presets import make_config
from pjepa_agent.config.schema import Config
from pjepa_agent.envs.base import Spec
from pjepa_agent.envs.counting import SPEC
from pjepa_agent.model import PJEPA
from pjepa_agent.networks.actions import GivenActions
from pjepa_agent.run import train_run
from pjepa_agent.runs.directory import RunDirectory
from pjepa_agent.training import Interrupted
from pjepa_agent.training.requirements import check_given_codes
from support.corridor import walks
from support.toy_worlds import LADDER, domain
from support.trainings import tiny
from support.world_runs import train

BOUNDS = (-2.0, 0.0), (2.0, 10.0)
CODES = {
    "sign": ActionCodes(signs=2),
    "bins:3": ActionCodes(bins=Bins(3, *BOUNDS)),
    "bins:7": ActionCodes(bins=Bins(7, (-2.0, 5.0), (2.0, 5.0))),
}


def drawn(number=500):
    """Actions beyond the bounds too, at the edges of bins and on both sides of zero."""
    rng = np.random.default_rng(0)
    edges = np.float32([[-2, 0], [2, 10], [-2 / 3, 10 / 3], [0, 0], [-0.0, 5], [np.nextafter(np.float32(0), -1), 5]])
    return np.concatenate([rng.uniform([-3, -1], [3, 12], (number, 2)).astype(np.float32), edges])


def model(action, spec=SPEC, seed=0):
    torch.manual_seed(seed)
    config = tiny().override([f"network.action={action}"])
    return PJEPA(config, spec).eval()


@pytest.mark.parametrize("name", CODES)
def test_actions_are_given_alike_exactly_where_the_theory_gives_them_one_code(name):
    actions, codes = drawn(), CODES[name]
    given = GivenActions(*BOUNDS, codes).given(torch.from_numpy(actions)).numpy()
    if codes.signs:
        expected, _ = encode_values(actions, "sign")
    else:
        expected = codes.bins.index(actions) @ [codes.bins.count, 1]
    assert given.shape == actions.shape
    assert np.abs(given).max() <= 1
    np.testing.assert_array_equal((given[:, None] == given).all(-1), expected[:, None] == expected)


def test_without_codes_actions_are_scaled_alone():
    actions = torch.from_numpy(drawn())
    module = GivenActions(*BOUNDS)
    assert torch.equal(module.given(actions), module.scaled(actions))


@pytest.mark.parametrize("bins", [False, True])
def test_rollouts_with_actions_of_one_code_are_equal_and_of_others_are_not(bins):
    codes = ActionCodes(bins=Bins(2, (-1.0,), (1.0,))) if bins else ActionCodes(signs=1)
    coded, plain = (model(each, dataclasses.replace(SPEC, action_codes=codes)) for each in ("code", "value"))
    plain.load_state_dict(coded.state_dict())  # a code changes no shape
    start, actions = torch.randn(5, 16), torch.tensor([0.3, -0.2, 0.9]).expand(5, 3)[..., None]
    smaller = actions / 100
    for each in (coded, coded.core, coded.with_parts({"dynamics"})):
        found = each.rollout(start, actions)
        assert torch.equal(found, each.rollout(start, smaller))
        assert not torch.allclose(found, each.rollout(start, -actions))
    assert torch.equal(coded.predict(start, actions[:, 0]), coded.predict(start, smaller[:, 0]))
    assert not torch.equal(plain.rollout(start, actions), plain.rollout(start, smaller))
    if not bins:
        torch.testing.assert_close(coded.rollout(start, actions), plain.rollout(start, actions.sign()))


def test_it_is_kept_in_the_configuration_and_older_ones_have_values():
    config = make_config().override(["network.action=code"])
    kept = config.to_dict()
    assert kept["network"]["action"] == "code"
    assert Config.from_dict(kept) == config
    del kept["network"]["action"]
    assert Config.from_dict(kept).network.action == "value"
    assert make_config("paper").network.action == "value"


def test_a_stopped_run_given_codes_ends_like_one_left_alone_and_is_loaded_with_them(tmp_path):
    config = tiny().override(["network.action=code"])
    left = RunDirectory.create(tmp_path / "left", config)
    train_run(left, config, "cpu")
    run, calls = RunDirectory.create(tmp_path / "run", config), []
    with pytest.raises(Interrupted):
        train_run(run, config, "cpu", should_stop=lambda: calls.append(1) or len(calls) == 6)
    run, read = RunDirectory.open(run.path)
    assert read == config
    train_run(run, read, "cpu")
    ends = [load(each.path) for each in (left, run)]
    states = [each.state_dict() for each in ends]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    start, actions = torch.randn(4, 16), torch.rand(4, 2, 1) + 0.01
    assert torch.equal(ends[1].rollout(start, actions), ends[1].rollout(start, actions / 50))


@pytest.mark.parametrize(
    ("kind", "actions"),
    [("box", "sign"), ("box", "bins:4"), ("number", "auto"), ("unbounded", "sign"), ("discrete", "auto")],
)
def test_t_is_given_the_codes_that_a_world_has(kind, actions):
    made = domain(arguments={"actions": kind}, actions=actions, transitions=400)
    data, config = made.collect(0), make_config().override(["network.action=code"])
    check_given_codes(config, made.spec, data)
    spec = Spec.from_dict(json.loads(json.dumps(made.spec.to_dict())))
    given = GivenActions(spec.action_low, spec.action_high, spec.action_codes).given(torch.tensor(data.action_value))
    assert len(np.unique(given.numpy(), axis=0)) == len(np.unique(data.action))


def test_codes_that_are_not_known_beforehand_are_refused_in_one_line(tmp_path, capsys):
    status, run = train(
        tmp_path, "--env", LADDER, "--env-arg", 'actions="unbounded"', "--auxiliary", "reward",
        "--network.action", "code",
    )  # fmt: skip
    err = capsys.readouterr().err
    assert status == 2
    assert "network.action=code: actions have no bounds, so their bins are not known" in err
    assert not run.path.exists()
    unexplained = dataclasses.replace(walks(), action_value=np.random.default_rng(0).normal(size=(len(walks()), 1)))
    config = make_config().override(["network.action=code"])
    with pytest.raises(DatasetError, match="does not say how its action codes are made") as caught:
        check_given_codes(config, Spec((4,), "float32", 1), unexplained)
    assert "\n" not in str(caught.value)


def test_the_command_trains_on_a_dataset_with_bins(tmp_path, capsys):
    status, run = train(
        tmp_path, "--env", LADDER, "--env-arg", 'actions="box"', "--auxiliary", "reward", "--network.action", "code"
    )
    assert status == 0, capsys.readouterr().err
    trained, spec = load(run.path), run.read_spec()
    assert spec.action_codes is not None
    assert spec.action_codes.bins is not None
    start = torch.randn(3, trained.latent_dim)
    low = torch.tensor(spec.action_low).expand(3, -1)
    inside = low + 1e-3 * (torch.tensor(spec.action_high) - low)
    assert torch.equal(trained.predict(start, low), trained.predict(start, inside))


@pytest.mark.parametrize("bounds", [BOUNDS, (None, None)])
def test_actions_that_are_scaled_and_unscaled_are_the_same(bounds):
    given = GivenActions(*bounds)
    action = torch.tensor([[-2.0, 0], [1, 2.5], [2, 10]])
    torch.testing.assert_close(given.unscaled(given.scaled(action)), action)
    assert bounds[0] is None or float(given.scaled(action).abs().amax()) == 1
