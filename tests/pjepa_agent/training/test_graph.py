"""One update as one graph: the same numbers as without, schedules that go on in it, and what cannot be captured.

On a CPU a capture is emulated (`support.graphs`); on a CUDA device the same tests capture.
"""

import contextlib
import random

import numpy as np
import pytest
import torch
from pjepa_agent.collection.dataset import collect_dataset
from pjepa_agent.compute import graph
from pjepa_agent.compute.random import host_draws
from pjepa_agent.compute.scalars import Scalar
from pjepa_agent.config.fields import ConfigError
from pjepa_agent.objectives.base import EncoderObjective
from pjepa_agent.objectives.ema import EMAObjective
from pjepa_agent.objectives.pjepa import PJEPAObjective
from pjepa_agent.run import train_run
from pjepa_agent.runs.directory import RunDirectory
from pjepa_agent.training import Interrupted, Trainer
from pjepa_agent.training.averaging import averaging_weight
from pjepa_agent.training.optimizer import learning_rate_factor
from support.configs import with_sections
from support.graphs import emulate
from support.trainings import tiny, with_all_parts

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]

UPDATES = 10


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Make a trainer, whose updates become a graph unless told otherwise."""
    numbers = iter(range(100))

    def make(config, device="cpu", captures="on", path=None):
        config = config.override([f"compute.graph={captures}"])
        path = path or tmp_path / str(next(numbers))
        run = RunDirectory(path) if path.exists() else RunDirectory.create(path, config)
        data = None if config.collection.while_training else collect_dataset(config)
        trainer = Trainer(config, run, data, torch.device(device))
        if device == "cpu" and captures == "on":
            emulate(monkeypatch)
        trainer.model.train()
        return trainer

    return make


def rows_of(trainer, updates=UPDATES):
    return [{name: float(loss) for name, loss in trainer.step().items()} for _ in range(updates)]


def state_of(trainer):
    state = {f"model.{name}": value for name, value in trainer.model.state_dict().items()}
    state |= {f"objective.{name}": value for name, value in trainer.objective.state_dict().items()}
    if trainer.averaged is not None:
        state |= {f"averaged.{name}": value for name, value in trainer.averaged.state_dict().items()}
    for number, learner in enumerate(trainer.update_function.learners):
        for parameter, moments in learner.optimizer.state_dict()["optimizer"]["state"].items():
            state |= {f"optimizer.{number}.{parameter}.{name}": value for name, value in moments.items()}
    return {name: value.clone() for name, value in state.items()}


CASES = {
    "laptop": lambda: with_sections(
        tiny(updates=UPDATES, averaging_age=0.2, encoder_learning_rate_factor=0.3),
        objective={"latent_noise": 0.5, "transition_warmup": 1.0},
    ),
    "paper": lambda: with_all_parts().override(["network.q_dropout=0.1", "network.q_members=3"]),
    "horizon": lambda: with_sections(tiny(updates=UPDATES), objective={"horizon": 3, "regularizer": "sigreg"}),
    "ema": lambda: tiny(updates=UPDATES).override(["objective.name=ema"]),
    "tdmpc2": lambda: with_sections(
        tiny(updates=UPDATES),
        objective={"name": "tdmpc2", "horizon": 2},
        network={"latent_normalization": "simplicial"},
    ),
    "dbc": lambda: tiny(updates=UPDATES).override(["objective.name=dbc"]),
    "inverse": lambda: tiny(updates=UPDATES).override(["objective.name=inverse"]),
}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", CASES)
def test_a_graph_of_an_update_computes_the_same(name, device, made, caplog):
    """Losses and all that is saved; on a CPU to the bit. Random numbers are those that are drawn without a graph."""
    config = CASES[name]()
    plain, graphed = made(config, device, "off"), made(config, device)
    expected, found = rows_of(plain), rows_of(graphed)
    assert graphed.graphed is not None, caplog.messages
    assert graphed.graphed._graph is not None
    assert expected[0] != expected[-1]
    first, second = state_of(plain), state_of(graphed)
    assert first.keys() == second.keys()
    if device == "cpu":
        assert found == expected
        assert [name for name, value in first.items() if not torch.equal(value, second[name])] == []
    else:
        for row, other in zip(expected, found, strict=True):
            assert other == pytest.approx(row, rel=2e-2, abs=1e-3)


@pytest.mark.gpu
@pytest.mark.parametrize("settings", [["compute.compile=on"], ["compute.compile=on", "optimization.autocast=true"]])
def test_a_graph_of_compiled_kernels_computes_the_same(settings, made):
    config = with_all_parts().override(settings)
    expected, found = rows_of(made(config, "cuda", "off"), 20), rows_of(made(config, "cuda"), 20)
    for row, other in zip(expected, found, strict=True):
        for name in ("total", "transition", "auxiliary", "decoder"):  # the others draw random numbers
            assert other[name] == pytest.approx(row[name], rel=2e-2, abs=1e-3), name


@pytest.mark.parametrize("device", DEVICES)
def test_a_number_of_the_host_stays_in_a_graph_what_it_was(device, monkeypatch):
    """Which is why schedules are tensors, and what makes a test of them able to fail."""
    if device == "cpu":
        emulate(monkeypatch)
    total, host, scalar = torch.zeros(2, device=device), 1.0, Scalar(torch.device(device))
    scalar.set(1.0)

    def add():
        total.add_(torch.stack([scalar.tensor, scalar.tensor.new_full((), host)]))

    made, _ = graph.capture(add, [], graph.side_stream(torch.device(device)))
    assert total.tolist() == [0, 0]
    for number in (1.0, 10.0, 100.0):
        host = number
        scalar.set(number)
        made.replay()
    assert total.tolist() == [111, 3]


@pytest.mark.parametrize("device", DEVICES)
def test_schedules_go_on_in_a_graph(device, made):
    """Learning rates, the weight of L_dyn and that of the average are where the graph reads them, at every update."""
    config = CASES["laptop"]()
    trainer = made(config, device)
    core = trainer.update_function.core
    for update in range(UPDATES):
        before = {name: value.detach().clone() for name, value in trainer.model.named_parameters()}
        averaged = trainer.averaged.model.encoder.proj.weight.detach().clone()
        losses = {name: float(loss) for name, loss in trainer.step().items()}
        rates = [1e-3, 3e-4]
        factor = learning_rate_factor(update, config.optimization)
        assert [float(rate) for rate in core.optimizer.device_rates] == pytest.approx([rate * factor for rate in rates])
        # And this update used them: total = weight L_dyn + weight L_p, Adam's step, the average.
        wanted = config.objective.transition_weight * ((update + 1) / UPDATES) ** 3
        assert float(core.weights["transition"]) == pytest.approx(wanted)
        rest = losses["total"] - config.objective.auxiliary_weight * losses["auxiliary"]
        assert rest == pytest.approx(wanted * losses["transition"], abs=1e-4 * losses["total"])
        moved = max(
            float((value.detach() - before[name]).abs().max()) for name, value in trainer.model.named_parameters()
        )
        assert 0.1 * rates[0] * factor <= moved <= 4 * rates[0] * factor
        share = averaging_weight(update + 1, config.optimization.averaging_age)
        expected = averaged.lerp(trainer.model.encoder.proj.weight.detach(), share)
        torch.testing.assert_close(trainer.averaged.model.encoder.proj.weight.detach(), expected)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("stop", [2, 3, 4, 7])
def test_a_stopped_run_of_graphs_ends_like_one_left_alone(device, stop, made, tmp_path):
    config = with_sections(CASES["laptop"](), optimization={"frozen_encoder": 0.4}, evaluation={"every": 5})
    whole, parts = made(config, device), made(config, device, path=tmp_path / "parts")
    whole.train()
    asked = iter(range(1, 100))
    with pytest.raises(Interrupted):
        parts.train(should_stop=lambda: next(asked) == stop)
    again = made(config, device, path=tmp_path / "parts")
    assert again.update == stop + (stop >= 5)
    again.train()
    assert again.graphed is not None
    first, second = state_of(whole), state_of(again)
    if device == "cpu":
        assert [name for name, value in first.items() if not torch.equal(value, second[name])] == []
    else:
        for name, value in first.items():
            torch.testing.assert_close(second[name], value, rtol=2e-2, atol=1e-3)


@pytest.mark.parametrize("device", DEVICES)
def test_a_graph_with_a_frozen_encoder_is_another_one(device, made):
    config = CASES["laptop"]().override(["optimization.frozen_encoder=0.5"])
    plain, graphed = made(config, device, "off"), made(config, device)
    expected = rows_of(plain)
    found, seen = [], []
    for _ in range(UPDATES):
        found += rows_of(graphed, 1)
        seen.append(graphed.graphed._graph)
    assert [number for number, each in enumerate(seen) if each is not None] == [3, 4, 8, 9]
    assert seen[4] is not seen[8]
    if device == "cpu":
        assert found == expected
    assert all(not parameter.requires_grad for parameter in graphed.model.encoder.parameters())


def spoiled(trainer, at):
    sample = trainer.replay.sample

    def spoil():
        batch = sample()
        if trainer.update == at:
            batch["auxiliary"] = torch.full_like(batch["auxiliary"], torch.nan)
        return batch

    trainer.replay.sample = spoil


@pytest.mark.parametrize("device", DEVICES)
def test_a_step_in_a_graph_that_is_not_finite_changes_no_parameter_and_is_found(device, made):
    trainer = made(CASES["paper"](), device)
    spoiled(trainer, at=6)
    rows_of(trainer, 6)
    before = {name: value.clone() for name, value in trainer.model.core.named_parameters()}
    trainer.step()
    assert all(torch.equal(value, before[name]) for name, value in trainer.model.core.named_parameters())
    flags = [bool(step.finite) for step in trainer.finite.pending if step.name == "the joint objective"]
    assert flags == [True] * 6 + [False]
    assert [step.update for step in trainer.finite.pending if not step.finite] == [7]


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["laptop", "paper"])
def test_between_checks_the_host_does_not_wait_for_the_device(name, made):
    config = CASES[name]().override(["compute.check_every=1000", "optimization.updates=1000"])
    trainer = made(config, "cuda")
    rows_of(trainer, 6)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(20):
            trainer.step()
    finally:
        torch.cuda.set_sync_debug_mode("default")


class Counts(PJEPAObjective):
    """Counts its calls on the host."""

    calls = 0

    def terms(self, model, batch):
        self.calls += 1
        return super().terms(model, batch)


class Replaces(PJEPAObjective):
    """Replaces a tensor, where a graph could only write into it."""

    def __init__(self, setup, settings=None):
        super().__init__(setup, settings)
        self.register_buffer("mean", torch.zeros(()))

    def terms(self, model, batch):
        terms = super().terms(model, batch)
        self.mean = 0.9 * self.mean + 0.1 * terms.losses["auxiliary"].detach()
        return terms


class Waits(PJEPAObjective):
    """Asks the device for a number."""

    def terms(self, model, batch):
        terms = super().terms(model, batch)
        return terms if float(terms.losses["auxiliary"].detach()) < 1e9 else None


class Draws(PJEPAObjective):
    """Draws random numbers of NumPy."""

    def terms(self, model, batch):
        np.random.random()  # noqa: NPY002
        return super().terms(model, batch)


class Follows(PJEPAObjective):
    """Has something to do after a step."""

    seen: list[int]

    def after_step(self, model):
        Follows.seen.append(1)


class Learns(PJEPAObjective):
    """Weighs losses by tensors."""

    def weights_at(self, progress):
        return {name: torch.tensor(weight, device="cpu") for name, weight in super().weights_at(progress).items()}


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (Counts, "calls changes on the host"),
        (Replaces, "mean changes on the host"),
        (Waits, "operation not permitted when stream is capturing"),
        (Draws, "random numbers are drawn on the host"),
        (Follows, "after_step of Follows may act on the host; set after_step_on_device where"),
        (Learns, "weights_at of Learns returns tensors"),
    ],
)
def test_what_a_graph_would_not_repeat_is_said_in_a_line_and_trained_as_it_is(kind, reason, made, monkeypatch, caplog):
    monkeypatch.setattr("pjepa_agent.objectives.pjepa.PJEPAObjective", kind)
    Follows.seen = []
    config = tiny(updates=UPDATES)
    expected = rows_of(made(config, captures="off"))
    caplog.clear()
    trainer = made(config)
    assert rows_of(trainer) == expected
    assert trainer.graphed is None
    (message,) = [record.message for record in caplog.records if record.name == "pjepa_agent"]
    assert message.startswith("compute.graph: updates cannot be captured as one graph (")
    assert reason in message
    assert "\n" not in message
    if kind is Counts:
        assert trainer.objective.calls == UPDATES
    if kind is Follows:
        assert len(Follows.seen) == 2 * UPDATES


@pytest.mark.parametrize("alone", [True, False])
def test_without_memory_for_a_graph_a_run_goes_on_alone_and_waits_beside_others(made, monkeypatch, caplog, alone):
    def scarce(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    trainer = made(CASES["laptop"]())
    monkeypatch.setattr(graph, "capture", scarce)
    monkeypatch.setattr(graph, "on_default_stream", lambda device: alone)
    with contextlib.nullcontext() if alone else pytest.raises(torch.OutOfMemoryError):
        rows_of(trainer)
    assert trainer.update == (UPDATES if alone else graph.WARM_UP)
    assert any("CUDA out of memory" in each for each in caplog.messages) == alone


@pytest.mark.parametrize("alone", [True, False])
def test_the_compiler_makes_graphs_only_where_no_other_stream_shares_their_memory(made, monkeypatch, alone):
    monkeypatch.setattr("pjepa_agent.training.trainer.on_default_stream", lambda device: alone)
    assert made(tiny(), captures="off")._compiler._mode == ("reduce-overhead" if alone else None)


def test_without_a_device_to_capture_on_a_run_goes_on(made, monkeypatch, caplog, tmp_path):
    """As where a driver refuses."""
    config = tiny(updates=UPDATES)
    expected = rows_of(made(config, captures="off"))
    calls = []

    def refuse(function, generators, stream):
        calls.append(1)
        raise RuntimeError("CUDA error: out of memory\nwith more lines") from OSError("the first")

    trainer = made(config)
    monkeypatch.setattr(graph, "capture", refuse)
    caplog.clear()
    assert rows_of(trainer) == expected
    (message,) = [record.message for record in caplog.records if record.name == "pjepa_agent"]
    assert len(calls) == 1
    assert "(the first)" in message


def test_an_objective_says_whether_what_follows_a_step_is_on_the_device():
    class Own(EncoderObjective):
        def terms(self, model, batch):
            raise NotImplementedError

    class Acts(Own):
        def after_step(self, model):
            pass

    class OnDevice(Acts):
        after_step_on_device = True

    class ActsAgain(EMAObjective):
        def after_step(self, model):
            super().after_step(model)

    answers = [each.follows_on_device() for each in (Own, Acts, OnDevice, EMAObjective, ActsAgain)]
    assert answers == [True, False, True, True, False]


def test_draws_of_every_generator_of_the_host_are_seen():
    before = host_draws()
    assert before == host_draws()
    for draw in (lambda: torch.rand(1), np.random.random, random.random):
        draw()
        assert before != (before := host_draws())


def test_a_graph_is_refused_where_there_can_be_none(tmp_path):
    config = tiny().override(["compute.graph=on"])
    run = RunDirectory.create(tmp_path / "run", config)
    with pytest.raises(ConfigError, match=r"^compute.graph='on': is for a CUDA device, and this run trains on cpu"):
        train_run(run, config, "cpu")
    with pytest.raises(ConfigError, match=r"^compute.graph='on': needs the fused Adam"):
        config.override(["compute.fast_paths=false"])
