"""The last updates with a frozen encoder: what is kept is what T and P learnt on."""

import numpy as np
import pytest
import torch
from bisim_theory import read_representation
from pjepa_agent import load
from pjepa_agent.collection.dataset import collect_dataset
from pjepa_agent.config.presets import make_config
from pjepa_agent.config.schema import OptimizationConfig
from pjepa_agent.evaluation.theorem import represent
from pjepa_agent.run import train_run
from pjepa_agent.runs.directory import RunDirectory
from pjepa_agent.training import Interrupted, Trainer
from pjepa_agent.training.optimizer import learning_rate_factor
from support.configs import with_sections
from support.trainings import with_all_parts

CPU = torch.device("cpu")
UPDATES, JOINT, STEPS, ROWS = 20, 14, 3, 6


@pytest.fixture
def config(tiny):
    config = tiny(updates=UPDATES, averaging_age=0.2, frozen_encoder=0.3, frozen_steps=STEPS, frozen_batch_size=ROWS)
    return with_sections(config, evaluation={"batch_norm_samples": 64}, objective={"frozen_noise": 0.0})


def copies(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def equal(one, other):
    return all(torch.equal(value, other[name]) for name, value in one.items())


def history_of(trainer):
    """States of the trained and of the evaluated model after every update, the number done first."""
    states = [None]
    trainer.train(on_update=lambda update: states.append((copies(trainer.model), copies(trainer.evaluated))))
    return states


def of(state, part):
    return {name: value for name, value in state.items() if name.startswith(part + ".")}


@pytest.mark.parametrize("age", [0.0, 0.2])
def test_the_encoder_that_is_kept_stands_still_and_the_others_learn_on(config, tmp_path, age):
    config = config.override([f"optimization.averaging_age={age}"])
    run = RunDirectory.create(tmp_path / "run", config)
    trainer = Trainer(config, run, collect_dataset(config), CPU)
    states = history_of(trainer)
    trained, evaluated = states[UPDATES]
    parameters = dict(trainer.model.encoder.named_parameters())
    if age:  # the average of the joint updates is what is frozen
        before = of(states[JOINT][1], "encoder")
        assert all(torch.equal(before[f"encoder.{name}"], value) for name, value in parameters.items())
        assert not equal(before, of(states[JOINT][0], "encoder"))
    for update in range(JOINT + 1, UPDATES + 1):
        assert equal(of(states[update][0], "encoder"), of(trained, "encoder"))  # batch statistics too
        assert equal(states[update][0], states[update][1])
        for part in ("dynamics", "head"):
            assert update == UPDATES or not equal(of(states[update][0], part), of(states[update + 1][0], part))
    assert not equal(of(states[JOINT - 1][0], "encoder"), of(states[JOINT][0], "encoder"))
    assert equal(copies(load(run.path)), evaluated)


def test_the_updates_before_are_a_whole_run_without(config, tmp_path):
    short = config.override([f"optimization.updates={JOINT}", "optimization.frozen_encoder=0"])
    ends = []
    for name, changed in (("with", config), ("without", short)):
        run = RunDirectory.create(tmp_path / name, changed)
        ends.append(history_of(Trainer(changed, run, collect_dataset(changed), CPU)))
    assert equal(ends[0][JOINT][0], ends[1][JOINT][0])
    assert equal(of(ends[0][UPDATES][1], "encoder"), of(copies(load(tmp_path / "without")), "encoder"))


def test_the_learning_rate_starts_again_as_a_cosine():
    config = OptimizationConfig(updates=100, warmup=10, frozen_encoder=0.2)
    rates = [learning_rate_factor(update, config) for update in range(100)]
    alone = OptimizationConfig(updates=80, warmup=10)
    assert rates[:80] == [learning_rate_factor(update, alone) for update in range(80)]
    assert rates[80] == 1
    assert np.all(np.diff(rates[80:]) < 0)
    assert rates[99] == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize("stop", [JOINT - 1, JOINT, JOINT + 2])
def test_a_run_that_is_stopped_around_it_ends_like_one_left_alone(config, tmp_path, stop):
    config = with_sections(config, evaluation={"every": 7})
    left, run = (RunDirectory.create(tmp_path / name, config) for name in ("left", "run"))
    train_run(left, config, CPU)
    calls = []
    with pytest.raises(Interrupted) if stop % 7 else pytest.raises(KeyboardInterrupt):

        def should_stop():
            calls.append(1)
            return len(calls) == stop

        def killed(row):
            if row["update"] == stop:
                raise KeyboardInterrupt

        trainer = Trainer(config, run, collect_dataset(config), CPU)
        trainer.train(on_metrics=killed if stop % 7 == 0 else lambda row: None, should_stop=should_stop)
    train_run(run, config, CPU)
    assert equal(copies(load(left.path)), copies(load(run.path)))
    expected, found = (read_representation(each.representation) for each in (left, run))
    np.testing.assert_array_equal(expected.predicted_embedding, found.predicted_embedding)


def test_what_t_learnt_on_is_what_it_is_applied_to(config, tmp_path):
    changed = ["updates=30", "batch_size=190", "frozen_steps=1", "frozen_batch_size=0"]
    config = config.override([f"optimization.{each}" for each in changed] + ["evaluation.every=30"])
    run = RunDirectory.create(tmp_path / "run", config)
    trainer = Trainer(config, run, collect_dataset(config), CPU)
    losses = []
    trainer.train(on_update=lambda update: losses.append(trainer.state.recent["transition"][-1]))
    data = collect_dataset(config)
    kept = represent(data, load(run.path))
    error = np.square(kept.predicted_embedding - kept.embedding[data.successor]).mean()
    assert error == pytest.approx(float(losses[-1]), rel=0.2)  # of 190 of the 200 transitions, with repeats


def test_each_batch_is_encoded_once_and_learnt_from_in_several_steps_with_new_noise(config, tmp_path):
    config = config.override(["objective.frozen_noise=0.5", "evaluation.batch_norm_samples=0"])
    run = RunDirectory.create(tmp_path / "run", config)
    trainer = Trainer(config, run, collect_dataset(config), CPU)
    encoded, given = [], []
    trainer.model.encoder.register_forward_hook(lambda module, images, _: encoded.append(len(images[0])))
    trainer.model.dynamics.register_forward_hook(lambda module, inputs, _: given.append(inputs[0].detach().clone()))
    for _ in range(JOINT):
        trainer.step()
    steps = len(encoded)
    assert len(given) == steps == JOINT
    trainer.model.train()
    trainer.step()
    assert len(encoded) - steps == 1
    noisy = torch.stack(given[JOINT:]).float()
    assert noisy.shape[:2] == (STEPS, ROWS)
    spread = noisy.std(0)[:, : config.network.latent_dim].mean()
    assert spread > 0  # each step has noise of its own
    assert not noisy.std(0)[:, config.network.latent_dim :].any()  # and the same actions
    assert optimizer_steps(trainer) == {"dynamics": STEPS, "head": STEPS}  # begun anew


def optimizer_steps(trainer):
    """How many steps the moments of each of the three networks are of."""
    names = {id(parameter): name.split(".")[0] for name, parameter in trainer.model.core.named_parameters()}
    states = trainer.optimizer._optimizer.state
    return {names[id(parameter)]: int(state["step"]) for parameter, state in states.items()}


def test_without_noise_t_is_given_the_very_embeddings(config, tmp_path):
    config = config.override(
        ["objective.latent_noise=0.5", "optimization.frozen_steps=1", "evaluation.batch_norm_samples=0"]
    )
    run = RunDirectory.create(tmp_path / "run", config)
    trainer = Trainer(config, run, collect_dataset(config), CPU)
    embedded, given = [], []
    for _ in range(JOINT):
        trainer.step()
    trainer.model.encoder.register_forward_hook(lambda module, images, found: embedded.append(found.detach().clone()))
    trainer.model.dynamics.register_forward_hook(lambda module, inputs, _: given.append(inputs[0].detach().clone()))
    trainer.step()
    (batch,), (sources,) = embedded, given
    assert torch.equal(batch[: len(sources)], sources[:, : config.network.latent_dim])


def test_an_objective_that_encodes_with_a_target_of_its_own_is_given_observations_too(config, tmp_path):
    config = config.override(["objective.name=ema"])
    run = RunDirectory.create(tmp_path / "run", config)
    trainer = Trainer(config, run, collect_dataset(config), CPU)
    states = history_of(trainer)
    assert equal(of(states[JOINT + 1][0], "encoder"), of(states[UPDATES][0], "encoder"))
    assert not equal(of(states[JOINT + 1][0], "dynamics"), of(states[UPDATES][0], "dynamics"))


def test_readouts_and_online_collection_go_on(tmp_path):
    config = with_all_parts().override(["optimization.frozen_encoder=0.5", "optimization.averaging_age=0.2"])
    run = RunDirectory.create(tmp_path / "run", config)
    trainer = Trainer(config, run, None, CPU)
    states = history_of(trainer)
    for part in ("control.q", "decoder", "dynamics", "head"):
        assert not equal(of(states[-2][0], part), of(states[-1][0], part))
    assert equal(of(states[-2][0], "encoder"), of(states[-1][0], "encoder"))


def test_the_paper_and_other_worlds_have_no_such_phase():
    assert make_config("paper").optimization.frozen_encoder == 0
    other = make_config(environment="CartPole-v1")
    assert (other.optimization.frozen_encoder, other.network.action) == (0, "value")
    assert (other.optimization.frozen_steps, other.optimization.frozen_batch_size) == (1, 0)
    of_others = make_config(environment="CartPole-v1", objective="ema")
    assert (of_others.optimization.frozen_encoder, of_others.network.action) == (0, "value")
