"""Predictions along sequences of actions: sequences that begin alike share their first steps."""

from typing import Any, TypeGuard

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pjepa_agent.planning.base import Cost, Dynamics, checked, checked_cost
from pjepa_agent.planning.costs import ValueCost

Codes = Int[Tensor, "batch samples horizon"]
"""Numbers of actions: the model predicts the same for actions of one number."""

Evaluated = tuple[Float[Tensor, "batch samples horizon latent"], Float[Tensor, "batch samples"]]
"""Embeddings along sequences of actions, and the costs of these."""


class Imagination:
    """Predict in one decision, each beginning of a sequence of actions once.

    A model that says what it is given of actions, as `GivenActions` does, predicts once for all sequences that begin
    with what is the same to it. A `ValueCost` then values each of these predictions once.

    Args:
        model: predicts.
        embedding: (B, d) where each environment is.
        cost: is asked for the cost of each sequence.
    """

    def __init__(self, model: Dynamics, embedding: Float[Tensor, "batch latent"], cost: Cost) -> None:
        self.model = model
        self._embedding, self._cost = embedding, cost
        self._applications = 0
        self._told: Tensor | None = None
        self._tree: _Tree | None = None

    @property
    def calls(self) -> float:
        """Applications of the dynamics to one embedding and one action up to now, per environment."""
        return self._applications / len(self._embedding)

    def evaluate(self, actions: Float[Tensor, "batch samples horizon action"]) -> Evaluated:
        """Predict the embeddings along sequences of actions in the units of the data, and return these and the costs.

        Raises:
            PlanningError: see `checked_cost`.
        """
        codes = self._codes(actions)
        if codes is None:
            return self._evaluate_each(actions)
        assert self._tree is not None
        before = len(self._tree.states)
        index = self._tree.walk(actions, codes)
        self._applications += len(self._tree.states) - before
        predicted = self._tree.states[index]
        if _values_alone(self._cost):
            value = self._tree.values(self._cost)[index]
            return predicted, checked(self._cost.total(value), index.shape[:2])
        return predicted, checked_cost(self._cost, predicted, actions)

    def _codes(self, actions: Float[Tensor, "batch samples horizon action"]) -> Codes | None:
        """Number what a model is given of actions; None where it does not say so, or where little of that repeats."""
        given: Any = getattr(self.model, "given", None)
        if given is None:
            return None
        told = given(actions).flatten(0, 2)
        if told.shape[1] == 1:
            values, codes = torch.unique(told[:, 0], return_inverse=True)
        else:
            values, codes = torch.unique(told, dim=0, return_inverse=True)
        if 2 * len(values) > len(codes):
            return None
        if self._told is None or not torch.equal(values, self._told):
            self._told, self._tree = values, _Tree(self.model, self._embedding, len(values))
        return codes.view(actions.shape[:3])

    def _evaluate_each(self, actions: Tensor) -> Evaluated:
        samples = actions.shape[1]
        flat = self.model.rollout(self._embedding.repeat_interleave(samples, 0), actions.flatten(0, 1))
        predicted = flat.unflatten(0, actions.shape[:2])
        self._applications += flat.shape[0] * flat.shape[1]
        return predicted, checked_cost(self._cost, predicted, actions)


def evaluate_all(
    model: Dynamics,
    embedding: Float[Tensor, "batch latent"],
    cost: Cost,
    choices: Float[Tensor, "choices action"],
    sequences: Float[Tensor, "samples horizon action"],
) -> Evaluated:
    """Predict the embeddings along all sequences of some actions, each beginning of a sequence once, and their costs.

    Args:
        model: predicts.
        embedding: (B, d) where each environment is.
        cost: is asked for the cost of each sequence.
        choices: K actions.
        sequences: all K^H sequences of these, in the order of `torch.cartesian_prod`.

    Raises:
        PlanningError: see `checked_cost`.
    """
    batch, (samples, horizon, _) = len(embedding), sequences.shape
    levels = [embedding[:, None]]
    for _ in range(horizon):
        before = levels[-1].repeat_interleave(len(choices), 1).flatten(0, 1)
        actions = choices.repeat(len(before) // len(choices), 1)
        levels.append(model.rollout(before, actions[:, None])[:, 0].unflatten(0, (batch, -1)))
    # Level t has K^t states, each the state at that step of K^(H - t) sequences that follow each other.
    sizes = [len(choices) ** step for step in range(1, horizon + 1)]
    numbers = torch.arange(samples, device=embedding.device)
    index = torch.stack([sum(sizes[:step]) + numbers // (samples // size) for step, size in enumerate(sizes)], 1)
    states = torch.cat(levels[1:], 1)
    predicted = states[:, index]
    if _values_alone(cost):
        value = cost.value(states[:, :, None])[:, :, 0]
        return predicted, checked(cost.total(value[:, index]), (batch, samples))
    return predicted, checked_cost(cost, predicted, sequences.expand(batch, *sequences.shape))


def _values_alone(cost: Cost) -> TypeGuard[ValueCost]:
    """Tell whether the cost of a sequence is made of the values of its embeddings and of nothing else."""
    return type(cost).__call__ is ValueCost.__call__


class _Tree:
    """Hold the embeddings that are reached, one for each beginning of a sequence in each environment.

    Args:
        model: predicts.
        embedding: (B, d) where each environment is, the roots.
        number: K, of codes.
    """

    def __init__(self, model: Dynamics, embedding: Float[Tensor, "batch latent"], number: int) -> None:
        self._model, self._number, self._roots = model, number, len(embedding)
        self.states = embedding
        self._environment = torch.arange(self._roots, device=embedding.device)
        self._children = self._blank(self._roots)  # the state that each state's action of each code leads to, or -1
        self._value = embedding.new_zeros(self._roots)

    def walk(self, actions: Float[Tensor, "batch samples horizon action"], codes: Codes) -> Codes:
        """Return the number of the state that each sample reaches at each step; predict those that are new."""
        place = torch.arange(self._roots, device=codes.device)[:, None].expand(codes.shape[:2])
        index = []
        for action, code in zip(actions.unbind(2), codes.unbind(2), strict=True):
            new = self._children[place, code] < 0
            if bool(new.any()):
                self._grow(place[new], code[new], action[new])
            place = self._children[place, code]
            index.append(place)
        return torch.stack(index, 2)

    def values(self, cost: ValueCost) -> Float[Tensor, " states"]:
        """Return the value of every state."""
        if len(self._value) < len(self.states):
            self._value = torch.cat([self._value, self._valued(cost, len(self._value))])
        return self._value

    def _grow(self, parent: Tensor, code: Tensor, action: Float[Tensor, "new action"]) -> None:
        """Predict the children of states (m,) by actions of codes (m,), each once."""
        places, number = torch.unique(parent * self._number + code, return_inverse=True)
        first = torch.empty_like(places).scatter_(0, number, torch.arange(len(number), device=number.device))
        parents = places.div(self._number, rounding_mode="floor")
        reached = self._model.rollout(self.states[parents], action[first][:, None])[:, 0]
        self._children.view(-1)[places] = len(self.states) + torch.arange(len(places), device=places.device)
        self._children = torch.cat([self._children, self._blank(len(places))])
        self.states = torch.cat([self.states, reached])
        self._environment = torch.cat([self._environment, self._environment[parents]])

    def _valued(self, cost: ValueCost, start: int) -> Tensor:
        """Value the states from one on. A cost has a row for each environment, and these have more states or fewer."""
        states, environment = self.states[start:], self._environment[start:]
        order = environment.argsort(stable=True)
        sizes = torch.bincount(environment, minlength=self._roots)
        column = torch.empty_like(order)
        column[order] = torch.arange(len(order), device=order.device) - (sizes.cumsum(0) - sizes)[environment[order]]
        rows = states.new_zeros(self._roots, int(sizes.max()), states.shape[1])
        rows[environment, column] = states
        return cost.value(rows[:, :, None])[:, :, 0][environment, column]

    def _blank(self, states: int) -> Tensor:
        return torch.full((states, self._number), -1, device=self.states.device)
