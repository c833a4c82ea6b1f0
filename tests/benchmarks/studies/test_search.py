"""Successive halving: its schedule, and that it goes on where it was stopped."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from benchmarks.studies.records import Table
from benchmarks.studies.search import RUNGS, WORST, Halving, Rung, Search

NAMES = [f"setting {number}" for number in range(8)]
QUALITY = dict(zip(NAMES, (0.3, 0.9, 0.1, 0.7, 0.2, 0.8, 0.6, 0.4), strict=True))
BEST_FOUR = ["setting 1", "setting 5", "setting 3", "setting 6"]


def test_the_better_half_goes_on_best_first():
    halving = Halving(NAMES)
    scores = {}
    assert halving.pending(scores) == [(name, 0) for name in NAMES]
    assert halving.entrants(1, scores) is None
    scores = {(name, 0): quality for name, quality in QUALITY.items()}
    assert halving.pending(scores) == [(name, 1) for name in BEST_FOUR]
    assert halving.winner(scores) is None
    # What was third at first is best with more updates.
    scores |= {(name, 1): 0.5 + (name == "setting 3") / 4 for name in BEST_FOUR}
    assert halving.pending(scores) == []
    assert halving.winner(scores) == "setting 3"


def test_of_equal_settings_the_earlier_goes_on():
    scores = {(name, 0): 0.5 for name in NAMES} | {("setting 0", 0): WORST}
    assert Halving(NAMES).entrants(1, scores) == NAMES[1:5]


@pytest.mark.parametrize("rungs", [(Rung(7, 1, 0),), (Rung(8, 1, 0), Rung(9, 1, 0))])
def test_a_schedule_begins_with_all_and_grows_fewer(rungs):
    with pytest.raises(ValueError, match="must begin with all, and grow fewer"):
        Halving(NAMES, rungs)


class Trainings:
    """Stand for `last_evaluation`: note what is trained, and stop or diverge where asked to."""

    def __init__(self, stop_after=None, diverging=()):
        self.done, self.stop_after, self.diverging = [], stop_after, diverging

    def __call__(self, path, options):
        if self.stop_after is not None and len(self.done) >= self.stop_after:
            raise KeyboardInterrupt
        name = options[0]
        self.done.append((name, *options[1:]))
        path.mkdir(parents=True)
        return None if name in self.diverging else {"quality": QUALITY[name]}


def make_search(folder, trainings):
    given = {name: [name] for name in NAMES}
    table = Table(folder / "scores.csv")
    return Search("world/objective", given, table, folder / "runs", lambda row: row["quality"], evaluate=trainings)


@pytest.fixture
def pool():
    with ThreadPoolExecutor(1) as pool:
        yield pool


def test_a_search_that_is_stopped_goes_on_and_trains_nothing_twice(tmp_path, pool):
    done = []
    for stop in (0, 3, 5, 2):
        trainings = Trainings(stop_after=stop)
        with pytest.raises(KeyboardInterrupt):
            make_search(tmp_path, trainings).complete(pool)
        done += trainings.done
    trainings = Trainings()
    assert make_search(tmp_path, trainings).complete(pool) == "setting 1"
    done += trainings.done
    expected = [(name, rung) for rung in RUNGS for name in (NAMES if rung is RUNGS[0] else BEST_FOUR)]
    assert sorted(done) == sorted(
        (name, "--updates", str(rung.updates), "--seed", str(rung.seed)) for name, rung in expected
    )
    assert list((tmp_path / "runs").iterdir()) == []
    # A finished one needs nothing but its scores.
    again = Trainings(stop_after=0)
    assert make_search(tmp_path, again).complete(pool) == "setting 1"


def test_a_setting_that_diverges_is_the_worst(tmp_path, pool):
    search = make_search(tmp_path, Trainings(diverging=("setting 1",)))
    assert search.complete(pool) == "setting 5"
    assert search.scores()["setting 1", 0] == WORST
