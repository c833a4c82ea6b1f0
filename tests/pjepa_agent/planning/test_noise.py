import pytest
import torch
from pjepa_agent.planning.noise import colored_noise


def draw(beta, horizon, samples=40_000, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return colored_noise(beta, (samples, 1, horizon, 1), generator)[:, 0, :, 0].double()


@pytest.mark.parametrize("horizon", range(1, 9))
@pytest.mark.parametrize("beta", [0, 0.25, 1, 2, 3.5])
def test_every_step_has_mean_0_and_variance_1_at_short_lengths_too(beta, horizon):
    noise = draw(beta, horizon)
    # Means and variances of 40,000 draws deviate by 0.005 and 0.007.
    torch.testing.assert_close(noise.mean(0), torch.zeros(horizon).double(), rtol=0, atol=0.03)
    torch.testing.assert_close(noise.var(0), torch.ones(horizon).double(), rtol=0, atol=0.04)


@pytest.mark.parametrize("horizon", range(2, 9))
@pytest.mark.parametrize("beta", [0, 1, 2, 3.5])
def test_the_power_falls_with_the_frequency(beta, horizon):
    power = torch.fft.rfft(draw(beta, horizon)).abs().square().mean(0)
    frequency = torch.fft.rfftfreq(horizon).double()
    expected = frequency.clamp(min=1 / horizon) ** -beta
    torch.testing.assert_close(power / power[1], expected / expected[1], rtol=0.06, atol=0)


def test_a_larger_exponent_keeps_the_sign_longer():
    def changes(beta):
        return float((draw(beta, 8).sign().diff() != 0).double().mean())

    assert changes(0) == pytest.approx(0.5, abs=0.01)
    assert changes(3.5) < changes(2) < changes(1) < changes(0)


def test_the_seed_fixes_the_noise_and_samples_differ():
    assert torch.equal(draw(2, 6, 10), draw(2, 6, 10))
    assert not torch.equal(draw(2, 6, 10), draw(2, 6, 10, seed=1))
    assert draw(2, 6, 10).unique(dim=0).shape[0] == 10
