"""Predictions along sequences of actions: sequences that begin alike share their first steps."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pjepa_agent.planning.base import Cost, Dynamics, checked, checked_cost
from pjepa_agent.planning.costs import ValueCost

Codes = Int[Tensor, "batch samples horizon"]
"""Numbers of actions: the model predicts the same for actions of one number."""


def evaluate(
    model: Dynamics,
    embedding: Float[Tensor, "batch latent"],
    actions: Float[Tensor, "batch samples horizon action"],
    cost: Cost,
    codes: Codes | None = None,
) -> tuple[Float[Tensor, "batch samples horizon latent"], Float[Tensor, "batch samples"], int]:
    """Predict the embeddings along sequences of actions, and return these, the costs, and what that took.

    A model that says what it is given of actions, as `GivenActions` does, predicts once for all sequences that begin
    with what is the same to it. A `ValueCost` then values each of these predictions once.

    Args:
        model: predicts.
        embedding: (B, d) where each environment is.
        actions: (B, N, H, A) in the units of the data.
        cost: is asked for the cost of each sequence.
        codes: (B, N, H) of the actions, from 0 on; None to find them, where the model says what it is given.

    Returns:
        Predicted embeddings (B, N, H, d), costs (B, N), and the applications of the dynamics to one embedding and one
        action, per environment.

    Raises:
        PlanningError: see `checked_cost`.
    """
    if codes is None:
        codes = _codes_of(model, actions)
    if codes is None:
        samples, horizon = actions.shape[1:3]
        flat = model.rollout(embedding.repeat_interleave(samples, 0), actions.flatten(0, 1))
        predicted = flat.unflatten(0, actions.shape[:2])
        return predicted, checked_cost(cost, predicted, actions), samples * horizon
    states, index = _reached(model, embedding, actions, codes)
    predicted = _rows(states, index.flatten(1)).unflatten(1, index.shape[1:])
    if type(cost).__call__ is ValueCost.__call__:
        assert isinstance(cost, ValueCost)
        value = cost.value(states[:, :, None])[:, :, 0]
        costs = checked(cost.total(value.gather(1, index.flatten(1)).view(index.shape)), index.shape[:2])
    else:
        costs = checked_cost(cost, predicted, actions)
    return predicted, costs, states.shape[1]


def _codes_of(model: Dynamics, actions: Float[Tensor, "batch samples horizon action"]) -> Codes | None:
    """Number what a model is given of actions; None where it does not say so, or where little of that repeats."""
    given: Any = getattr(model, "given", None)
    if given is None:
        return None
    told = given(actions).flatten(0, 2)
    if told.shape[1] == 1:
        values, codes = torch.unique(told[:, 0], return_inverse=True)
    else:
        values, codes = torch.unique(told, dim=0, return_inverse=True)
    return codes.view(actions.shape[:3]) if 2 * len(values) <= len(codes) else None


def _reached(
    model: Dynamics,
    embedding: Float[Tensor, "batch latent"],
    actions: Float[Tensor, "batch samples horizon action"],
    codes: Codes,
) -> tuple[Float[Tensor, "batch states latent"], Codes]:
    """Predict each beginning of a sequence once.

    Returns:
        The embeddings that are reached, and the number of that of each sample and step. An environment with fewer
        beginnings than another has some of them twice.
    """
    number = int(codes.max()) + 1
    reached, place = embedding[:, None], torch.zeros_like(codes[..., 0])
    states, index, before = [], [], 0
    for action, code in zip(actions.unbind(2), codes.unbind(2), strict=True):
        source = place
        place, first = _numbered(place * number + code)
        parents, taken = _rows(reached, source.gather(1, first)), _rows(action, first)
        flat = model.rollout(parents.flatten(0, 1), taken.flatten(0, 1)[:, None])
        reached = flat[:, 0].unflatten(0, first.shape)
        states.append(reached)
        index.append(place + before)
        before += reached.shape[1]
    return torch.cat(states, 1), torch.stack(index, 2)


def _numbered(
    key: Int[Tensor, "batch samples"],
) -> tuple[Int[Tensor, "batch samples"], Int[Tensor, "batch distinct"]]:
    """Number the distinct keys of each row by size, and return a sample of each number, 0 where a row has fewer."""
    ordered, order = key.sort(1)
    rank = torch.zeros_like(key)
    rank[:, 1:] = (ordered[:, 1:] != ordered[:, :-1]).cumsum(1)
    first = key.new_zeros(len(key), int(rank.max()) + 1).scatter_(1, rank, order)
    return torch.empty_like(key).scatter_(1, order, rank), first


def _rows(values: Float[Tensor, "batch samples *rest"], index: Int[Tensor, "batch chosen"]) -> Tensor:
    """Return the samples of each row that an index names."""
    return values[torch.arange(len(values), device=values.device)[:, None], index]
