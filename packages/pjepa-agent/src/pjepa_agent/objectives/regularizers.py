"""Regularisers of embeddings that keep other JEPAs from collapse: for comparison, no part of the paper's objective."""

import torch
from jaxtyping import Float
from torch import Tensor

DIRECTIONS, KNOTS, REACH = 1024, 17, 5.0
"""SIGReg: random directions an update, points at which characteristic functions are compared, and up to which."""


def sigreg(embedding: Float[Tensor, "batch latent"]) -> Float[Tensor, ""]:
    """How far embeddings (B, d) are from a standard normal distribution, along random directions: a scalar.

    Along each, the Epps-Pulley statistic: B times the squared difference of the empirical characteristic function from
    exp(-t^2 / 2), integrated with that weight (Balestriero and LeCun, LeJEPA, 2025; LeWorldModel weighs it by 0.1).
    """
    directions = torch.randn(embedding.shape[1], DIRECTIONS, device=embedding.device)
    projected = embedding.float() @ (directions / directions.norm(dim=0))
    # The integrand is even in t, so half the line is enough, and its trapezoids count twice.
    knots = torch.linspace(0, REACH, KNOTS // 2 + 1, device=embedding.device)
    gaussian = torch.exp(-knots.square() / 2)
    # One knot at a time: all of them would take a (B, directions, knots) array.
    differences = torch.stack(
        [(torch.cos(t * projected).mean(0) - g).square() + torch.sin(t * projected).mean(0).square()
         for t, g in zip(knots, gaussian, strict=True)]
    )  # fmt: skip
    statistic = 2 * torch.trapezoid(differences * gaussian[:, None], knots, dim=0)
    return len(embedding) * statistic.mean()


def vicreg(embedding: Float[Tensor, "batch latent"]) -> Float[Tensor, ""]:
    """The variance and covariance terms of VICReg (Bardes et al., 2022) for embeddings (B, d): a scalar.

    A hinge on the standard deviation of every dimension below one, and a twenty-fifth, as there, of the mean over the
    dimensions of the squared covariances with the others.
    """
    covariance = _covariance(embedding)
    return deviation_hinge(torch.diagonal(covariance)).mean() + _off_diagonal(covariance) / 25


def variance_hinge(embedding: Float[Tensor, "batch latent"]) -> Float[Tensor, ""]:
    """Average over dimensions what the standard deviation of embeddings (B, d) lacks to one."""
    return deviation_hinge(embedding.float().var(0)).mean()


def covariance_penalty(embedding: Float[Tensor, "batch latent"]) -> Float[Tensor, ""]:
    """Average over dimensions of embeddings (B, d) the sum of the squared covariances with the others."""
    return _off_diagonal(_covariance(embedding))


def deviation_hinge(variance: Float[Tensor, "*batch latent"]) -> Float[Tensor, "*batch latent"]:
    """Return what standard deviations lack to one; 1e-4 is added to variances, so that gradients stay finite at 0."""
    return torch.relu(1 - torch.sqrt(variance + 1e-4))


def _covariance(embedding: Float[Tensor, "batch latent"]) -> Float[Tensor, "latent latent"]:
    centred = embedding.float() - embedding.float().mean(0)
    return centred.T @ centred / (len(embedding) - 1)


def _off_diagonal(covariance: Float[Tensor, "latent latent"]) -> Float[Tensor, ""]:
    """Sum the squares off the diagonal, over the number of dimensions."""
    others = covariance.square().sum() - torch.diagonal(covariance).square().sum()
    return others / len(covariance)


REGULARIZERS = {"sigreg": sigreg, "vicreg": vicreg}
"""By the names in `ObjectiveConfig.regularizer`."""
