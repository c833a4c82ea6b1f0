"""The study of the plateau."""

import math

import pytest
from pjepa_agent.cli.train import configure, make_parser
from pjepa_agent.model import PJEPA

from benchmarks.studies import plateau


def config(name):
    return configure(make_parser().parse_args(plateau.VARIANTS[name]))


@pytest.mark.parametrize("name", plateau.STARTS)
def test_all_starts_have_one_architecture_and_one_objective_without_normalisation(name):
    paper, other = config("paper"), config(name)
    assert other.network == paper.network
    assert other.network.normalization == "none"
    assert (other.objective.transition_weight, other.objective.auxiliary_weight) == (2, 10)
    sizes = [sum(each.numel() for each in PJEPA.untrained(one).parameters()) for one in (paper, other)]
    assert sizes[0] == sizes[1]


def rows(losses):
    return [{"update": 50 * number, "losses/auxiliary": loss} for number, loss in enumerate(losses)]


def test_the_plateau_ends_where_the_loss_is_below_half_of_a_constant_predictions():
    assert plateau.escape(rows([math.nan, 0.41, 0.21, 0.19, 0.3]), constant=0.4) == 150
    assert plateau.escape(rows([math.nan, 0.41, 0.2]), constant=0.4) is None


class Finished:
    """Stand for a study of starts with two seeds each, whose records have the columns that are kept."""

    def __init__(self, *names):
        self.variants = {name: [] for name in names}

    def metrics(self, name):
        courses = [(0.4, 0.3, 0.1), (0.4, 0.39, 0.38)]
        return [
            [{"update": 50 * number} | dict.fromkeys(plateau.CURVES, loss) for number, loss in enumerate(losses)]
            for losses in courses
        ]

    def measures(self, name):
        return [{"constant": 0.4}] * 2


def test_the_table_and_the_figure_are_made_of_the_columns_that_are_kept(tmp_path):
    row = plateau.table(Finished("paper")).splitlines()[2]
    assert row.startswith("| paper | 0.4 | 100, never | never, never | 100 |")
    for number, names in enumerate([("paper",), ("paper", "gain-1", "centred-scaled")]):
        plateau.draw(Finished(*names), tmp_path / f"{number}.png")
    one, two = ((tmp_path / f"{number}.png").stat().st_size for number in range(2))
    assert 10_000 < one < two
