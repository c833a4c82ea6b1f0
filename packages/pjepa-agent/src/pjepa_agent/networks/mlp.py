"""Multilayer perceptrons of the paper's Appendix D, their initialisation, and ensembles of them."""

import copy
import itertools
from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

Initialization = Literal["pytorch", "truncated-normal"]


def initialize(module: nn.Module, initialization: Initialization) -> None:
    """Initialise the linear layers of a module, itself included. Convolutions keep PyTorch's initialisation.

    Args:
        module: changed in place.
        initialization: ``truncated-normal``, of standard deviation 0.02 and with zero biases, as in the authors' code;
            ``pytorch`` changes nothing.
    """
    if initialization == "truncated-normal":
        for layer in module.modules():
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)


class NormedLinear(nn.Sequential):
    """Apply a linear layer, layer normalisation and Mish.

    Args:
        features_in: size of the input.
        features_out: size of the output.
        dropout: rate of dropout before the normalisation, as in TD-MPC2.
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
    """Make a multilayer perceptron whose last layer is linear.

    Args:
        features_in: size of the input.
        hidden: width of the hidden layers.
        layers: number of layers, the last included.
        features_out: size of the output.
        zero_last: whether the last layer starts at zero, so that a two-hot head starts at the uniform distribution.
        initialization: of the linear layers.
        dropout: rate of dropout in the first layer.
    """
    widths = [features_in, *[hidden] * (layers - 1)]
    hidden_layers = [NormedLinear(a, b, 0 if i else dropout) for i, (a, b) in enumerate(itertools.pairwise(widths))]
    network = nn.Sequential(*hidden_layers, nn.Linear(hidden, features_out))
    initialize(network, initialization)
    if zero_last:
        nn.init.zeros_(network[-1].weight)  # type: ignore[arg-type]
    return network


class Ensemble(nn.Module):
    """Apply networks of one architecture to the same input at once.

    Their parameters are stacked along a first axis, over which the network is mapped.

    Args:
        members: networks without buffers, whose parameters are copied.
    """

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        stacked, _ = torch.func.stack_module_state(list(members))
        self._names = {name: name.replace(".", "_") for name in stacked}
        for name, value in stacked.items():
            self.register_parameter(self._names[name], nn.Parameter(value.detach()))
        # Called with the stacked parameters. In a tuple it is no submodule, so its own are not counted among them.
        self._architecture = (copy.deepcopy(members[0]).to("meta"),)

    def forward(
        self, x: Float[Tensor, "batch features_in"], detached: bool = False
    ) -> Float[Tensor, "members batch features_out"]:
        """Apply all members; with `detached`, gradients reach `x` but not the parameters."""
        (architecture,) = self._architecture
        architecture.train(self.training)
        values = {name: getattr(self, own) for name, own in self._names.items()}
        if detached:
            values = {name: value.detach() for name, value in values.items()}

        def apply(member: dict[str, Tensor]) -> Tensor:
            output: Tensor = torch.func.functional_call(architecture, member, (x,))
            return output

        mapped: Tensor = torch.vmap(apply, randomness="different")(values)
        return mapped


def frozen_copy(network: nn.Module) -> nn.Module:
    """Copy a network in evaluation mode, with buffers in place of parameters: saved, but never optimised."""
    network = copy.deepcopy(network).eval()
    for module in network.modules():
        for name, value in list(module.named_parameters(recurse=False)):
            delattr(module, name)
            module.register_buffer(name, value.detach().clone())
    return network
