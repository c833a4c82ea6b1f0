"""Losses of every objective, recomputed in NumPy from what its networks return."""

import math

import numpy as np
import pytest
import torch
from pjepa_agent.objectives.tdmpc2 import PROPOSED
from support.sequences import BOUNDED, SIZE, make_case

BINS = np.linspace(-10, 10, 21)


def numbers(tensor):
    return tensor.detach().double().numpy()


def embeddings(case):
    """Embeddings (B, h + 1, d) of a batch, one observation after the other."""
    observation = case.batch["observation"]
    return torch.stack([case.model.encoder(observation[:, step]) for step in range(observation.shape[1])], 1).detach()


def predictions(case, z):
    """T of the embeddings of sources."""
    return numbers(case.model.transition(z[:, 0], case.batch["action"][:, 0]))


def losses_of(case, seed=3):
    torch.manual_seed(seed)
    return {name: loss.item() for name, loss in case.objective.terms(case.model, case.batch).losses.items()}


def check(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=2e-4, abs=1e-6), name


def column(case, name):
    return numbers(case.batch[name].float())


def test_deepmdp():
    case = make_case("deepmdp")
    z = embeddings(case)
    predicted = numbers(case.objective.reward(torch.cat([z[:, 0], case.batch["action"][:, 0]], -1)))[:, 0]
    check(
        losses_of(case),
        {
            "reward": np.square(predicted - column(case, "reward")[:, 0]).mean(),
            "transition": np.square(predictions(case, z) - numbers(z[:, 1])).mean(),
        },
    )


def smooth_l1(x, y):
    d = np.abs(x - y)
    return np.where(d < 1, d**2 / 2, d - 0.5)


@pytest.mark.parametrize("probabilistic", [True, False])
@pytest.mark.parametrize("form", ["code", "paper"])
def test_dbc(form, probabilistic):
    case = make_case("dbc", form=form, probabilistic=probabilistic)
    z = embeddings(case)
    inputs = torch.cat([z[:, 0], case.batch["action"][:, 0]], -1)
    mean, deviation = predictions(case, z), np.ones((SIZE, 8))
    torch.manual_seed(3)
    noise = 0.0
    if probabilistic:
        deviation = 1e-4 + (10 - 1e-4) / (1 + np.exp(-numbers(case.objective.deviation(inputs))))
        noise = deviation * numbers(torch.randn(SIZE, 8))
    j = torch.randperm(SIZE).numpy()
    reward, of_zero = column(case, "reward")[:, 0], np.zeros_like(deviation)
    spread, source = (deviation if probabilistic else of_zero), numbers(z[:, 0])
    if form == "code":
        target = smooth_l1(reward, reward[j])[:, None] + 0.99 * np.sqrt(
            (mean - mean[j]) ** 2 + (spread - spread[j]) ** 2
        )
        distance = smooth_l1(source, source[j])
    else:
        other = torch.cat([z[j, 0], case.batch["action"][:, 0]], -1)  # j's embedding, with the action of i
        mean_j = numbers(case.model.transition(z[j, 0], case.batch["action"][:, 0]))
        spread_j = of_zero
        if probabilistic:
            spread_j = 1e-4 + (10 - 1e-4) / (1 + np.exp(-numbers(case.objective.deviation(other))))
        rewards = [numbers(case.objective.reward(torch.tensor(each).float()))[:, 0] for each in (mean, mean_j)]
        wasserstein = np.sqrt(((mean - mean_j) ** 2).sum(1) + ((spread - spread_j) ** 2).sum(1))
        target, distance = np.abs(rewards[0] - rewards[1]) + 0.99 * wasserstein, np.abs(source - source[j]).sum(1)
    of_sample = numbers(case.objective.reward(torch.tensor(mean + noise).float()))[:, 0]
    likelihood = np.square((mean - numbers(z[:, 1])) / deviation) / 2 + np.log(deviation)
    check(
        losses_of(case),
        {
            "metric": np.square(distance - target).mean(),
            "transition": likelihood.mean(),
            "reward": np.square(of_sample - reward).mean(),
        },
    )
    assert case.objective.weights_at(1.0) == {"metric": 0.5, "transition": 1, "reward": 1}


def two_hot_divergence(logits, value):
    """Cross-entropy of one row of logits with the two-hot code of a number, less the entropy of that code."""
    x = np.sign(value) * math.log1p(abs(value))
    code = np.maximum(1 - np.abs(BINS - x) / (BINS[1] - BINS[0]), 0)
    log_softmax = logits - np.log(np.exp(logits - logits.max()).sum()) - logits.max()
    return -(code * log_softmax).sum() + sum(c * math.log(c) for c in code if c > 0)


def decode(logits):
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    x = (weights / weights.sum(-1, keepdims=True)) @ BINS
    return np.sign(x) * np.expm1(np.abs(x))


def test_tdmpc2():
    case = make_case("tdmpc2")
    objective, batch, z = case.objective, case.batch, embeddings(case)
    assert z.shape == (SIZE, 4, 8)
    torch.testing.assert_close(z.sum(-1), torch.ones(SIZE, 4))  # eight components are one point of a simplex
    heads, action = objective.heads, batch["action"]
    torch.manual_seed(3)
    chosen = torch.randint(SIZE, (PROPOSED, 3 * SIZE))
    members = torch.randperm(5)[:2].numpy()
    reached = z[:, 1:].flatten(0, 1)
    best = np.full((SIZE, 3), -np.inf)
    for proposal in chosen:
        inputs = torch.cat([reached, action[:, 0][proposal]], -1)
        values = decode(numbers(heads.target_q(inputs)))[members].min(0)
        best = np.maximum(best, values.reshape(SIZE, 3))
    reward, present = column(case, "reward"), numbers(batch["present"])
    target = reward + 0.95 * (1 - column(case, "terminated")) * best
    expected, state = dict.fromkeys(("transition", "reward", "value"), 0.0), z[:, 0]
    for step in range(3):
        inputs = torch.cat([state, action[:, step]], -1)
        of_reward, of_q = numbers(heads.reward(inputs)), numbers(heads.q(inputs))
        state = case.model.transition(state, action[:, step]).detach()
        torch.testing.assert_close(state.sum(-1), torch.ones(SIZE))
        rows = np.flatnonzero(present[:, step])
        errors = {name: [] for name in expected}
        for row in rows:
            errors["transition"].append(np.square(numbers(state[row]) - numbers(z[row, step + 1])).mean())
            errors["reward"].append(two_hot_divergence(of_reward[row], reward[row, step]))
            errors["value"].append(np.mean([two_hot_divergence(each[row], target[row, step]) for each in of_q]))
        for name, values in errors.items():
            expected[name] += 0.5**step * np.mean(values) / 3
    check(losses_of(case), expected)
    assert objective.weights_at(1.0) == {"transition": 20, "reward": 0.1, "value": 0.1}


def test_the_targets_of_tdmpc2_follow_slowly():
    case = make_case("tdmpc2", spec=BOUNDED)
    heads = case.objective.heads
    before = [value.clone() for value in heads.target_q.buffers()]
    with torch.no_grad():
        for parameter in heads.q.parameters():
            parameter.add_(1)
    case.objective.after_step(case.model)
    for old, new, q in zip(before, heads.target_q.buffers(), heads.q.parameters(), strict=True):
        torch.testing.assert_close(new, 0.99 * old + 0.01 * q)


def test_pldm():
    case = make_case("pldm", spec=BOUNDED)
    batch, z, present = case.batch, embeddings(case), column(case, "present").astype(bool)
    state, errors = z[:, 0], []
    for step in range(3):
        state = case.model.transition(state, batch["action"][:, step]).detach()
        errors.append(np.square(numbers(state) - numbers(z[:, step + 1])).mean(-1))
    pairs = torch.cat([z[:, :-1], z[:, 1:]], -1)
    of_action = numbers(case.objective.inverse(pairs))[..., 0] - column(case, "action")[..., 0] / 2
    z = numbers(z)
    covariance = np.cov(z[:, 0].T)
    over_time = np.sqrt(z[:, 1:].var(1, ddof=1) + 1e-4)[present.all(1)]
    check(
        losses_of(case),
        {
            "transition": np.stack(errors, 1)[present].mean(),
            "variance": np.maximum(1 - np.sqrt(np.diag(covariance) + 1e-4), 0).mean(),
            "covariance": (np.square(covariance).sum() - np.square(np.diag(covariance)).sum()) / (8 * 7),
            "time_variance": np.maximum(1 - over_time, 0).mean(),
            "smoothness": np.square(z[:, 1:] - z[:, :-1]).mean(-1)[present].mean(),
            "inverse": np.square(of_action)[present].mean(),
        },
    )
    assert list(case.objective.weights_at(1.0).values()) == [1, 3.98, 6.92, 0.245, 0.742, 1.07]


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_inverse(weight):
    case = make_case("inverse", transition_weight=weight)
    z = embeddings(case)
    logits = numbers(case.objective.classifier(torch.cat([z[:, 0], z[:, 1]], -1)))
    right = logits[np.arange(SIZE), case.batch["code"][:, 0].numpy()]
    expected = {"inverse": (np.log(np.exp(logits).sum(1)) - right).mean()}
    if weight:
        expected["transition"] = np.square(predictions(case, z) - numbers(z[:, 1])).mean()
    check(losses_of(case), expected)
    assert case.objective.trains == ({"dynamics"} if weight else set())


def test_sigreg():
    case = make_case("sigreg")
    z = embeddings(case)
    torch.manual_seed(3)
    t, steps = np.linspace(0, 5, 9), []
    for step in range(2):
        directions = numbers(torch.randn(8, 1024))
        projected = numbers(z[:, step]) @ (directions / np.linalg.norm(directions, axis=0))
        characteristic = np.exp(1j * t[:, None, None] * projected).mean(1)
        gaussian = np.exp(-(t**2) / 2)[:, None]
        statistic = 2 * np.trapezoid(np.abs(characteristic - gaussian) ** 2 * gaussian, t, axis=0)
        steps.append(SIZE * statistic.mean())
    transition = np.square(predictions(case, z) - numbers(z[:, 1])).mean()
    check(losses_of(case), {"transition": transition, "sigreg": np.mean(steps)})


def test_vicreg():
    case = make_case("vicreg")
    z = embeddings(case)
    transition = np.square(predictions(case, z) - numbers(z[:, 1])).mean()
    expected = {"transition": transition, "variance": 0.0, "covariance": 0.0}
    for step in range(2):
        covariance = np.cov(numbers(z[:, step]).T)
        expected["variance"] += np.maximum(1 - np.sqrt(np.diag(covariance) + 1e-4), 0).mean()
        expected["covariance"] += (np.square(covariance).sum() - np.square(np.diag(covariance)).sum()) / 8
    check(losses_of(case), expected)
    assert case.objective.weights_at(1.0) == {"transition": 25, "variance": 25, "covariance": 1}


@pytest.mark.parametrize("loss", ["absolute", "squared"])
def test_ema(loss):
    case = make_case("ema", loss=loss, momentum=0.9)
    with torch.no_grad():
        for parameter in case.model.encoder.parameters():
            parameter.add_(0.1)
    before = {name: value.clone() for name, value in case.objective.target.named_buffers()}
    z, slow = embeddings(case), numbers(case.objective.target(case.batch["observation"][:, 1]))
    error = predictions(case, z) - slow
    check(losses_of(case), {"transition": (np.abs(error) if loss == "absolute" else error**2).mean()})
    case.objective.after_step(case.model)
    for name, parameter in case.model.encoder.named_parameters():
        expected = 0.9 * before[name] + 0.1 * parameter
        torch.testing.assert_close(case.objective.target.get_buffer(name), expected)
