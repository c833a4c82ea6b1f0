import numpy as np
import pytest
import torch
from bisim_theory.data.action_codes import ActionCodes
from pjepa_agent.evaluation import dynamics_fit
from pjepa_agent.evaluation.dynamics_fit import FittedDynamics, fit, fitted_dynamics
from pjepa_agent.evaluation.imagination import imagine_counts
from pjepa_agent.model import PJEPA
from pjepa_agent.networks.mlp import mlp
from pjepa_agent.runs.checkpoint import load_checkpoint, save_checkpoint
from pjepa_agent.runs.directory import RunDirectory
from support.planned import ExactCounting, folded_embeddings
from support.trainings import tiny

SIGN = ActionCodes(signs=1)


def steps(number=4_000):
    """Transitions between embeddings of the counting world with a little noise, and uniform actions."""
    rng, table = np.random.default_rng(0), folded_embeddings()
    count = torch.from_numpy(rng.integers(9, size=number))
    action = torch.from_numpy(rng.uniform(-1, 1, (number, 1)).astype(np.float32))
    reached = ExactCounting(table).rollout(table[count], action[:, None])[:, 0]
    noise = 0.05 * torch.from_numpy(rng.normal(size=(2, number, 4)).astype(np.float32))
    return (table[count] + noise[0]).numpy(), (reached + noise[1]).numpy(), action.numpy()


def make():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return FittedDynamics(mlp(5, 64, 2, 4), (-1.0,), (1.0,), SIGN)


def accuracy(dynamics):
    dynamics.device, counts = torch.device("cpu"), np.repeat(np.arange(9), 10)
    embedding = folded_embeddings()[counts].numpy()
    return imagine_counts(dynamics, embedding, counts, embedding, counts, 0)


def test_t_that_is_given_signs_imagines_many_steps_and_small_actions(monkeypatch):
    monkeypatch.setattr(dynamics_fit, "UPDATES", 600)
    dynamics = make()
    fit(dynamics, *steps(), tiny())
    found = accuracy(dynamics)
    assert min(found["uniform_actions"]["accuracy"][:3]) > 0.95
    assert min(found["uniform_actions"]["accuracy"]) > 0.8
    assert found["uniform_actions"]["accuracy"] == found["largest_actions"]["accuracy"]
    action = torch.tensor([[0.01]])
    start = folded_embeddings()[:1]
    assert torch.equal(dynamics.transition(start, action), dynamics.transition(start, action * 90))


def test_a_fit_is_kept_and_used_for_its_encoder_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(dynamics_fit, "UPDATES", 3)
    config = tiny()
    run, model = RunDirectory.create(tmp_path / "run", config), PJEPA.untrained(config).eval()
    from pjepa_agent.envs.registry import make_domain

    data = make_domain(config.collection).collect(0)
    first = fitted_dynamics(run, config, model, data, SIGN)
    assert run.dynamics().is_file()
    monkeypatch.setattr(dynamics_fit, "fit", None)  # is not called again
    again = fitted_dynamics(run, config, model, data, SIGN)
    embedding, action = torch.randn(3, 16), torch.rand(3, 1)
    assert torch.equal(first.transition(embedding, action), again.transition(embedding, action))
    state = load_checkpoint(run.dynamics())
    save_checkpoint(run.dynamics(), {**state, "codes": None, "signs": True})  # as earlier versions wrote it
    fitted_dynamics(run, config, model, data, SIGN)
    save_checkpoint(run.dynamics(), {name: value for name, value in state.items() if name != "settings"})
    with pytest.raises(TypeError):  # of other settings
        fitted_dynamics(run, config, model, data, SIGN)
    save_checkpoint(run.dynamics(), state)
    for other_model, codes in ((PJEPA.untrained(tiny("random")).eval(), SIGN), (model, None)):
        next(other_model.encoder.parameters()).data.add_(float(codes is not None))
        with pytest.raises(TypeError):
            fitted_dynamics(run, config, other_model, data, codes)
