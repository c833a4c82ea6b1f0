"""Multilayer perceptrons of the paper's Appendix D, ensembles of them, and how linear layers start."""

import copy
import itertools
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

Initialization = Literal["pytorch", "truncated-normal"]


def initialize(module: nn.Module, initialization: Initialization) -> None:
    """Set the linear layers of a module, itself included; convolutions keep PyTorch's default.

    ``"truncated-normal"`` is a standard deviation of 0.02 and zero biases, as in the authors' code.
    """
    if initialization == "truncated-normal":
        for layer in module.modules():
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)


class NormedLinear(nn.Sequential):
    """Linear layer, layer normalisation, Mish: (B, features_in) -> (B, features_out).

    A `dropout` above zero is applied before the normalisation, as in TD-MPC2.
    """

    def __init__(self, features_in: int, features_out: int, dropout: float = 0.0) -> None:
        layers = [nn.Linear(features_in, features_out), nn.LayerNorm(features_out), nn.Mish()]
        if dropout:
            layers.insert(1, nn.Dropout(dropout))
        super().__init__(*layers)


def mlp(
    features_in: int,
    hidden: int,
    layers: int,
    features_out: int,
    zero_last: bool = False,
    initialization: Initialization = "truncated-normal",
    dropout: float = 0.0,
) -> nn.Sequential:
    """Multilayer perceptron of `layers` layers in all, the last of them linear: (B, features_in) -> (B, features_out).

    With `zero_last` the last layer starts at zero, so that a two-hot head starts at the uniform distribution. `dropout`
    is that of the first layer.
    """
    widths = [features_in, *[hidden] * (layers - 1)]
    hidden_layers = [NormedLinear(a, b, 0 if i else dropout) for i, (a, b) in enumerate(itertools.pairwise(widths))]
    network = nn.Sequential(*hidden_layers, nn.Linear(hidden, features_out))
    initialize(network, initialization)
    if zero_last:
        nn.init.zeros_(network[-1].weight)  # type: ignore[arg-type]
    return network


class Ensemble(nn.Module):
    """k networks of one shape, applied at once: (B, features_in) -> (k, B, features_out).

    Their parameters are kept stacked, each with a first axis of k, and the networks are mapped over that axis.

    Args:
        members: the networks, whose values are copied; they have parameters alone, no buffers.
    """

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        stacked, _ = torch.func.stack_module_state(list(members))
        self._names = {name: name.replace(".", "_") for name in stacked}
        for name, value in stacked.items():
            self.register_parameter(self._names[name], nn.Parameter(value.detach()))
        # Lends its shape alone: in a tuple it is no submodule, so its own parameters are not counted among the stacked.
        self._shape = (copy.deepcopy(members[0]).to("meta"),)

    def forward(self, x: Tensor, detached: bool = False) -> Tensor:
        """(B, features_in) -> (k, B, features_out); with `detached`, gradients reach `x` but not the parameters."""
        (shape,) = self._shape
        shape.train(self.training)
        values = {name: getattr(self, own) for name, own in self._names.items()}
        if detached:
            values = {name: value.detach() for name, value in values.items()}

        def apply(member: dict[str, Tensor]) -> Tensor:
            output: Tensor = torch.func.functional_call(shape, member, (x,))
            return output

        mapped: Tensor = torch.vmap(apply, randomness="different")(values)
        return mapped


def frozen_copy(network: nn.Module) -> nn.Module:
    """A copy in evaluation mode whose parameters are buffers: saved with a model, never counted nor optimised."""
    network = copy.deepcopy(network).eval()
    for module in network.modules():
        for name, value in list(module.named_parameters(recurse=False)):
            delattr(module, name)
            module.register_buffer(name, value.detach().clone())
    return network
