"""SIGReg and VICReg against their definitions."""

import math

import numpy as np
import pytest
import torch
from pjepa_agent.objectives.regularizers import sigreg, vicreg


def test_sigreg_is_the_statistic_of_epps_and_pulley():
    # In one dimension every direction is the axis; the oracle integrates with ten thousand points.
    x = torch.randn(50, 1, generator=torch.Generator().manual_seed(0)) * 2 + 1
    t = np.linspace(-5, 5, 10_001)
    gaussian = np.exp(-(t**2) / 2)
    difference = np.abs(np.exp(1j * t * x.numpy()).mean(0) - gaussian) ** 2
    expected = 50 * np.trapezoid(difference * gaussian, t)
    assert float(sigreg(x)) == pytest.approx(expected, rel=0.02)


def test_sigreg_is_least_for_a_standard_normal():
    torch.manual_seed(0)
    normal = torch.randn(2_000, 8)
    least = float(sigreg(normal))
    assert least == pytest.approx(math.sqrt(2 * math.pi) - math.sqrt(2 * math.pi / 3), rel=0.5)
    for other in (0 * normal, 2 * normal, normal + 1, normal.sign(), normal[:, :1].expand(-1, 8)):
        assert float(sigreg(other)) > 4 * least


def test_vicreg_by_hand():
    z = torch.tensor([[0.0, 0.0], [0.2, 0.4], [0.1, 0.8]])
    covariance = np.cov(z.numpy().T)
    hinge = np.mean([1 - math.sqrt(covariance[i, i] + 1e-4) for i in (0, 1)])
    assert float(vicreg(z)) == pytest.approx(hinge + 2 * covariance[0, 1] ** 2 / 2 / 25, rel=1e-5)
    torch.manual_seed(0)
    assert float(vicreg(3 * torch.eye(8)[torch.randint(8, (10_000,))])) < 0.2
    assert float(vicreg(torch.zeros(10, 8))) == pytest.approx(0.99)
