"""Several seeds at once: what is compared does the same, and is timed."""

import statistics

import pytest
import torch
from pjepa_agent.config.presets import make_config

from benchmarks.speed import seeds
from benchmarks.speed.gpu import TINY
from benchmarks.speed.throughput import small

CPU = torch.device("cpu")


@pytest.mark.parametrize("preset", ["laptop", "paper"])
def test_stacked_encoders_have_the_gradients_of_each(preset):
    config = make_config(preset).override(["network.width=8", "network.blocks=1", "network.latent_dim=16"])
    each = seeds.encoders(config, 3, CPU)
    images = torch.randint(0, 256, (3, 4, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    alone = [seeds.gradients(encoder, seen) for encoder, seen in zip(each, images, strict=True)]
    stacked = seeds.Stacked(seeds.encoders(config, 3, CPU)).gradients(images)
    assert list(stacked) == [name for name, _ in each[0].named_parameters()]
    for number, (name, together) in enumerate(stacked.items()):
        for seed in range(3):
            expected = alone[seed][number]
            distance = (together[seed] - expected).norm() / expected.norm()
            assert distance < 1e-4, (name, seed)
    first, second = (next(iter(stacked.values()))[seed] for seed in (0, 1))
    assert not torch.allclose(first, second)


class Clock:
    """A clock that goes on where something is done."""

    now = 0.0

    def perf_counter(self):
        return self.now


def test_only_what_all_do_together_is_timed(monkeypatch):
    clock, done = Clock(), []

    class Slow:
        def __init__(self, config, *_):
            clock.now += 100  # to begin is not timed

        def step(self):
            clock.now += 0.25
            done.append(clock.now)

    monkeypatch.setattr(seeds, "time", clock)
    monkeypatch.setattr(seeds, "Trainer", Slow)
    monkeypatch.setattr(seeds, "updating", lambda trainer: trainer.step)
    assert seeds.rate_in_turn(small(make_config("paper")).override(TINY), 3, CPU, 2, 5) == 4
    assert len(done) == 3 * (2 + 5)


def test_a_training_that_fails_is_no_rate(monkeypatch):
    def refuse(*_):
        raise ZeroDivisionError("a fault")

    monkeypatch.setattr(seeds, "Trainer", refuse)
    with pytest.raises(ZeroDivisionError):
        seeds.rate_in_turn(small(make_config("paper")).override(TINY), 2, CPU, 1, 1)


def test_the_command_prints_a_row_for_each_number(capsys):
    settings = [part for each in TINY for part in ("--set", each)]
    seeds.main(["--device", "cpu", "--seeds", "1", "2", "--rounds", "1", "--repeats", "1", *settings])
    header, _, *rows = capsys.readouterr().out.splitlines()
    assert header == "| seeds | ms an encoder, one after the other | ms an encoder, stacked | updates/s in turn |"
    assert [row.split(" | ")[0] for row in rows] == ["| 1", "| 2"]
    assert statistics.fmean(float(cell) for row in rows for cell in row.strip("| ").split(" | ")) > 0
