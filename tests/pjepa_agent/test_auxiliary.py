import dataclasses
from pathlib import Path

import numpy as np
import pytest
from bisim_theory import read_representation, read_transitions, write_transitions
from pjepa_agent import load
from pjepa_agent.auxiliary import Auxiliary, apply_random_network
from pjepa_agent.config.fields import ConfigError
from pjepa_agent.config.presets import make_config
from pjepa_agent.config.schema import CollectionConfig
from pjepa_agent.envs.counting import CountingDomain
from pjepa_agent.run import prepare, train_run
from pjepa_agent.runs.directory import RunDirectory, RunError

MINE = """
import numpy as np
import torch

brightness = 7

def mean(images, labels):
    return np.asarray(images[:]).mean((1, 2, 3))

class By:
    @staticmethod
    def quadrant(images, labels):
        halves = np.asarray(images[:]).reshape(len(images), 2, 32, 2, 32, 3)
        return halves.mean((2, 4, 5)).reshape(-1, 4)

def scalar(images, labels): return 3.0
def short(images, labels): return np.zeros(len(images) - 1)
def deep(images, labels): return np.zeros((len(images), 2, 2))
def words(images, labels): return np.array(["many"] * len(images))
def infinite(images, labels): return np.where(np.arange(len(images)) == 2, np.inf, 0)
def overflow(images, labels): return np.full((len(images), 2), 1e300)
def large(images, labels): return np.full(len(images), 1e5)
def fails(images, labels): raise KeyError("no such thing")
def empty(images, labels): return np.zeros((len(images), 0))
def digits(images, labels): return np.full(len(images), np.nextafter(np.longdouble(1), 2))
def sparse(images, labels): return torch.zeros(len(images), 2).to_sparse()
def counted(labels): return torch.from_numpy(labels["count"]).float()
def gradient(images, labels): return counted(labels).requires_grad_()
def narrow(images, labels): return counted(labels).bfloat16()
"""


def with_auxiliary(config, name, **objective):
    return dataclasses.replace(config, objective=dataclasses.replace(config.objective, auxiliary=name, **objective))


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A module of the user's in the current folder, under a name that no other test has imported."""
    name = f"mine_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    return name


@pytest.fixture(scope="module")
def data():
    return CountingDomain(CollectionConfig(transitions=300)).collect(seed=0)


def apply(name, data, **objective):
    return Auxiliary(with_auxiliary(make_config(), name, **objective))(data.observation, data.labels)


def test_q_solves_the_bellman_equation_of_the_random_policy():
    q = CountingDomain(CollectionConfig()).action_values(0.9)
    for count in range(9):
        for code, step in enumerate((-1, 1)):
            after = min(max(count + step, 0), 8)
            ahead = 0 if count == 4 else 0.9 * q[after].mean()
            assert q[count, code] == pytest.approx((after == 4) + ahead)


def test_q_is_the_mean_return_of_the_random_policy():
    from counting_env import rules
    from counting_env.arguments import Arguments

    rng, arguments, discount = np.random.default_rng(0), Arguments(), 0.8
    count, weight = np.full(20_000, 2), np.ones(20_000)
    total = np.zeros(20_000)
    for _ in range(60):
        after = rules.next_count(count, rng.integers(2, size=len(count)), 8)
        total += weight * rules.reward_of(after, arguments)
        weight *= discount * ~rules.is_last(count, after, 4, True)
        count = after
    assert CountingDomain(CollectionConfig()).action_values(discount)[2].mean() == pytest.approx(total.mean(), abs=0.01)


def test_named_functions(data, mine):
    count = data.labels["count"]
    np.testing.assert_array_equal(apply("reward", data), count == 4)
    np.testing.assert_array_equal(apply("count", data), count)
    np.testing.assert_array_equal(apply("color", data), data.labels["color"])
    np.testing.assert_array_equal(
        apply("q", data), CountingDomain(CollectionConfig()).action_values(0.95).mean(1)[count]
    )
    brightness = data.observation.mean((1, 2, 3))
    np.testing.assert_allclose(apply(f"{mine}:mean", data), brightness)  # in its own units
    assert apply(f"{mine}:By.quadrant", data).shape == (data.frames, 4)


def test_a_random_network_is_standardised_fixed_by_its_seed_and_not_linear(data):
    values = apply("random-network", data, auxiliary_dim=5)
    np.testing.assert_allclose(values.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(values.std(0), 1, rtol=1e-3)
    np.testing.assert_array_equal(values, apply("random-network", data, auxiliary_dim=5))
    few = data.observation[:3] // 2 * 2
    few[2] = few[0] // 2 + few[1] // 2
    raw = Auxiliary(with_auxiliary(make_config(), "random-network", auxiliary_dim=5))._function(few, {})
    assert abs(raw[2] - (raw[0] + raw[1]) / 2).max() > 1e-4


def test_a_random_map_keeps_the_scale_of_the_observations_it_met_first(data):
    auxiliary = Auxiliary(with_auxiliary(make_config(), "random", auxiliary_dim=4))
    first = auxiliary(data.observation, data.labels)
    np.testing.assert_allclose(auxiliary(data.observation[:7], {}), first[:7], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["random", "random-network"])
def test_the_scale_of_a_random_map_is_kept_with_the_transitions(data, tmp_path, name):
    config = with_auxiliary(make_config(), name, auxiliary_dim=3)
    auxiliary, other = Auxiliary(config), Auxiliary(config)
    values = auxiliary(data.observation, data.labels)
    kept = dataclasses.replace(data, auxiliary=values[data.source], metadata=auxiliary.metadata)
    write_transitions(tmp_path / "transitions.npz", kept)
    other.restore(read_transitions(tmp_path / "transitions.npz"))
    np.testing.assert_array_equal(other(data.observation[:7], {}), auxiliary(data.observation[:7], {}))


def test_the_scale_of_a_random_map_is_found_again_in_a_run_that_did_not_keep_it():
    run = Path(__file__).parent / "runs" / "run_of_0_1"
    config, data = RunDirectory.open(run)[1], read_transitions(run / "transitions.npz")
    assert config.objective.auxiliary == "random"
    assert "auxiliary_mean" not in data.metadata
    auxiliary = Auxiliary(config)
    auxiliary.restore(data)
    values = auxiliary(data.observation, data.labels)
    np.testing.assert_allclose(values[data.source], data.auxiliary, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("auxiliary_mean", [0, 0]), ("auxiliary_mean", "many"), ("auxiliary_mean", [0, 0, float("nan")]),
        ("auxiliary_deviation", [1, 1, 0]), ("auxiliary_deviation", None), ("auxiliary_deviation", [1, 1, -1]),
    ],
)  # fmt: skip
def test_a_damaged_scale_of_a_random_map_is_refused(data, name, value):
    config = with_auxiliary(make_config(), "random", auxiliary_dim=3)
    auxiliary = Auxiliary(config)
    values = auxiliary(data.observation, data.labels)
    damaged = dataclasses.replace(data, auxiliary=values[data.source], metadata=auxiliary.metadata | {name: value})
    with pytest.raises(ConfigError, match=rf"auxiliary random: {name} in the metadata of the transitions: must be"):
        Auxiliary(config).restore(damaged)


def test_names_are_read_as_bisim_check_reads_them(data, mine):
    count = data.labels["count"]
    np.testing.assert_array_equal(apply("count:round:3", data), np.round(count / 3) * 3)
    np.testing.assert_array_equal(apply("reward+count", data), np.stack([count == 4, count], 1))
    both = apply(f"{mine}:mean:round:0.5+color", data)
    np.testing.assert_array_equal(both[:, 1:], data.labels["color"])
    np.testing.assert_array_equal(both[:, 0], np.round(data.observation.mean((1, 2, 3)) * 2) / 2)
    labelled = dataclasses.replace(data, labels={"count:round:3": count, "reward+count": count // 2})
    np.testing.assert_array_equal(apply("count:round:3", labelled), count)
    np.testing.assert_array_equal(apply("reward+count", labelled), count // 2)


def test_what_cannot_be_learnt_is_named(data, mine):
    cases = {
        "reward:bins:5": "auxiliary reward:bins:5: bins are of the range of all data",
        "reward:round:0": "STEP of round:STEP must be a positive number",
        "reward:actions": "auxiliary 'reward:actions': must be reward, q",
        "terminated": "auxiliary 'terminated': must be reward, q",
        "constant+count": "auxiliary 'constant': must be reward, q",
        "count+random": "auxiliary 'random': must be",
        "size": "must be reward, q, random, random-network, module:function or a label, one of color, count",
        "no_such_module_anywhere:f": "cannot be imported (ModuleNotFoundError",
        f"{mine}:g": "cannot be imported (AttributeError",
        f"{mine}:brightness": "is a int, must be a function",
        f"{mine}:scalar": "must return (F,) or (F, k) numbers, returned ()",
        f"{mine}:short": "rows for",
        f"{mine}:deep": "must return (F,) or (F, k) numbers",
        f"{mine}:words": "must return (F,) or (F, k) numbers",
        f"{mine}:empty": "must return (F,) or (F, k) numbers",
        f"{mine}:infinite": "is not finite for observation 2",
        f"{mine}:overflow": "is not finite for observation 0",
        f"{mine}:large": "reaches 100000, and a single number is learnt up to 22000",
        f"{mine}:fails": "raised KeyError: 'no such thing'",
    }
    for name, message in cases.items():
        with pytest.raises(ConfigError) as caught:
            apply(name, data)
        assert message in str(caught.value), name
        with pytest.raises(ConfigError):
            prepare(with_auxiliary(make_config(), name))


@pytest.mark.parametrize("world", [None, "CartPole-v1"])
def test_a_function_that_draws_anew_at_every_call_is_refused(tmp_path, monkeypatch, world):
    name = f"drawing_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(
        "import numpy as np\n"
        "def anew(images, labels):\n    return np.random.default_rng().random(len(images))\n"
        "def seeded(images, labels):\n    return images.reshape(len(images), -1).sum(1) % 7.0\n"
    )
    monkeypatch.chdir(tmp_path)
    config = make_config(environment=world).override(["collection.observation=vector"] if world else [])
    with pytest.raises(ConfigError, match="anew: has other values when asked again of the same observations"):
        prepare(with_auxiliary(config, f"{name}:anew"))
    prepare(with_auxiliary(config, f"{name}:seeded"))


def test_a_function_may_return_tensors(data, mine):
    for name in ("gradient", "narrow"):
        values = apply(f"{mine}:{name}", data)
        assert type(values) is np.ndarray
        assert (values == data.labels["count"]).all()
    refused = {"sparse": "what it returned: is no array (can't convert Sparse"}
    if np.finfo(np.longdouble).nmant > 52:
        refused["digits"] = "what it returned: row 0 has more digits than float64"
    for name, message in refused.items():
        with pytest.raises(ConfigError) as caught:
            apply(f"{mine}:{name}", data)
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "values"), [("q", 0), ("count", 0), ("color", 3), ("MINE:mean", 0), ("MINE:By.quadrant", 4)]
)
def test_a_run_learns_any_function_and_can_be_checked(tiny, tmp_path, mine, name, values):
    config = prepare(with_auxiliary(tiny(updates=3), name.replace("MINE", mine)))
    assert config.objective.auxiliary_values == values
    run = RunDirectory.create(tmp_path / "run", config)
    report = train_run(run, config, "cpu")
    assert report["auxiliary"] == config.objective.auxiliary
    data = read_transitions(run.path)
    assert data.auxiliary.shape == ((200, values) if values else (200,))
    assert data.metadata["auxiliary"] == config.objective.auxiliary
    read_representation(run.representation).check_against(data)
    assert load(run.path).auxiliary(np.zeros((2, 16))).shape == ((2, values) if values else (2,))


def test_an_auxiliary_that_was_not_prepared_is_refused_before_training(tiny, tmp_path):
    config = with_auxiliary(tiny(), "count")  # whose dimension is still that of a random map
    run = RunDirectory.create(tmp_path / "run", config)
    with pytest.raises(RunError, match=r"auxiliary: is \(200,\), this run needs \(200, 256\)"):
        train_run(run, config, "cpu")
    assert not run.metrics.exists()


@pytest.mark.parametrize("shape", [(7, 9, 1), (20, 10, 12), (3,)])
def test_a_random_network_takes_observations_of_any_shape(shape):
    rng = np.random.default_rng(0)
    frames = rng.normal(size=(5, *shape)).astype(np.float32)
    if len(shape) == 3:
        frames = rng.integers(256, size=(5, *shape), dtype=np.uint8)
    values = apply_random_network(frames, 4, seed=1)
    assert values.shape == (5, 4)
    assert len(np.unique(values, axis=0)) == 5
    np.testing.assert_array_equal(values, apply_random_network(frames, 4, seed=1))
    assert not np.array_equal(values, apply_random_network(frames, 4, seed=2))
