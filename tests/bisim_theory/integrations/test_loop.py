"""A plain loop in PyTorch watched by the callback, and what the Lightning callbacks say without Lightning."""

import logging
import sys

import pytest
import torch
from bisim_theory import DatasetError, TheoremMonitor
from bisim_theory.integrations.loop import TheoremCallback
from bisim_theory.integrations.watch import evaluating
from support.corridor import walks


class Model(torch.nn.Module):
    """A small JEPA of somebody else: its encoder has batch normalisation and dropout."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.encoder = torch.nn.Sequential(
            torch.nn.Flatten(), torch.nn.Linear(720, 8), torch.nn.BatchNorm1d(8), torch.nn.Dropout(0.5)
        )
        self.dynamics = torch.nn.Linear(8 + 2, 8)
        self.head = torch.nn.Linear(8, 1)


def encode(model, observations):
    assert not torch.is_grad_enabled()
    assert not model.training
    return model.encoder(observations.float() / 255)


def predict(model, z, actions):
    one_hot = torch.nn.functional.one_hot(actions[:, 0], 2)
    return model.dynamics(torch.cat([z, one_hot], 1))


def head(model, z):
    return model.head(z)


@pytest.fixture(scope="module")
def monitor():
    return TheoremMonitor(walks(), "reward")


def merge(model):
    """Make the encoder map everything to one point."""
    with torch.no_grad():
        model.encoder[1].weight.zero_()


def test_measures_are_logged_every_few_steps(monitor):
    logged, model = [], Model()
    watch = TheoremCallback(monitor, model, encode, predict, head, every=3, log=lambda *given: logged.append(given))
    returned = [watch(step) for step in range(8)]
    assert [step for _, step in logged] == [0, 3, 6]
    assert [measures is not None for measures in returned] == [step % 3 == 0 for step in range(8)]
    assert {"theorem/explained_share_1", "theorem/residual_ratio_2", "eval/rankme"} - logged[0][0].keys() == set()
    assert watch.measures is returned[6]
    assert logged[0][0] == logged[1][0]  # evaluation mode: no dropout


def test_the_module_and_the_random_numbers_are_left_as_they_were(monitor):
    model = Model()
    model.encoder[2].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [each.training for each in model.modules()]
    state = torch.get_rng_state()
    TheoremCallback(monitor, model, encode, predict, head)(0)
    assert [each.training for each in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(each.grad is None for each in model.parameters())
    with pytest.raises(ZeroDivisionError), evaluating(model):
        raise ZeroDivisionError
    assert [each.training for each in model.modules()] == modes


def test_a_collapse_is_warned_of_once_in_one_line_that_names_the_pair(monitor, caplog):
    model = Model()
    weight = model.encoder[1].weight.detach().clone()
    watch = TheoremCallback(monitor, model, encode, predict, head, every=1)
    watch(0)
    assert not caplog.messages
    merge(model)
    watch(1)
    watch(2)
    (line,) = caplog.messages
    assert line.startswith("step 1: 10 of 10 distinguished pairs have collapsed, such as observations ")
    assert str(watch.measures.pair) in line
    assert "\n" not in line
    model.encoder[1].weight.data = weight
    watch(3)
    merge(model)
    watch(4)
    assert len(caplog.messages) == 2


def test_a_training_that_diverges_is_said_and_not_stopped(monitor, caplog):
    model, logged = Model(), []
    watch = TheoremCallback(monitor, model, encode, predict, head, every=1, log=lambda *given: logged.append(given))
    watch(0)
    with torch.no_grad():
        model.encoder[1].bias.fill_(torch.nan)
    assert watch(1) is None
    assert caplog.messages == ["step 1: nothing is measured, since embedding: row 0 is not finite, or beyond 1e+100"]
    assert len(logged) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"monitor": "runs/NAME"}, "monitor: must be a TheoremMonitor, is str"),
        ({"encode": None}, "encode: must be a function of the module and tensors, is NoneType"),
        ({"auxiliary": 3}, "auxiliary: must be a function"),
        ({"every": 0}, "every=0: must be a number of steps"),
    ],
)
def test_what_cannot_watch_is_one_line(monitor, arguments, message):
    given = {"monitor": monitor, "module": Model(), "encode": encode, "predict": predict} | arguments
    with pytest.raises(DatasetError, match=message):
        TheoremCallback(**given)


@pytest.mark.parametrize("package", ["lightning", "pytorch_lightning"])
def test_without_lightning_the_extra_is_named(package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setitem(sys.modules, f"{package}.pytorch", None)
    module = __import__(f"bisim_theory.integrations.{package}", fromlist=["*"])
    with pytest.raises(ImportError, match=r"an extra installs: pip install './packages/bisim-theory\[lightning\]'"):
        _ = module.TheoremCallback
    with pytest.raises(AttributeError, match="has no attribute 'Callback'"):
        _ = module.Callback


def test_the_warning_is_seen_where_nobody_has_set_up_logging(monitor, capsys):
    model = Model()
    merge(model)
    root, handlers = logging.getLogger(), logging.getLogger().handlers[:]
    try:
        root.handlers.clear()
        TheoremCallback(monitor, model, encode, predict, head)(0)
    finally:
        root.handlers[:] = handlers
    assert capsys.readouterr().err.startswith("step 0: 10 of 10 distinguished pairs have collapsed")
