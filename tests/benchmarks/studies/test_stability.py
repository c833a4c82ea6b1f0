"""The levers of the study on stability."""

import pytest
from pjepa_agent.cli.train import configure, make_parser

from benchmarks.studies.stability import LEVERS
from benchmarks.studies.study import T_GIVEN_VALUES


def test_every_lever_is_another_run_of_the_same_size():
    default, *others = [configure(make_parser().parse_args([*T_GIVEN_VALUES, *each])) for each in LEVERS.values()]
    assert default == configure(make_parser().parse_args(T_GIVEN_VALUES))
    assert len({str(config) for config in others} - {str(default)}) == len(others)
    for name, config in zip(list(LEVERS)[1:], others, strict=True):
        observations = config.optimization.batch_size * (1 + config.objective.horizon) * config.optimization.updates
        assert observations / (256 * 2 * 1_000) == pytest.approx(1, rel=0.01), name
