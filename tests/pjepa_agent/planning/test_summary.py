import itertools
import subprocess
import sys

import numpy as np
import pytest
from bisim_theory import TransitionDataset
from pjepa_agent.envs.acting import Step
from pjepa_agent.planning.episodes import Episode
from pjepa_agent.planning.problems import Problem
from pjepa_agent.planning.shortest import ShortestPaths
from pjepa_agent.planning.summary import by_optimum, summarize, wilson_interval
from scipy.sparse import csr_array
from scipy.sparse.csgraph import shortest_path
from scipy.stats import binomtest


@pytest.mark.parametrize(("hits", "number"), [(0, 5), (3, 7), (200, 200), (139, 144)])
def test_intervals_of_shares_are_those_of_scipy(hits, number):
    oracle = binomtest(hits, number).proportion_ci(method="wilson")
    assert wilson_interval(hits, number) == pytest.approx([oracle.low, oracle.high], abs=1e-6)


def episode(optimum, steps, reached):
    rewards = [0.0] * steps + [float(reached)]
    return Episode(
        Problem(0, optimum),
        [Step(np.zeros(1), reward, False, False, {}) for reward in rewards],
        [np.zeros(1, np.float32)] * steps,
        reached=reached,
    )


def test_a_failure_counts_with_the_steps_it_took_and_unknown_optima_do_not_count():
    episodes = [episode(2, 2, True), episode(2, 5, True), episode(3, 16, False), episode(None, 4, True)]
    found = summarize(episodes, [10, 30], 1.5)
    assert (found["success"], found["optimal"], found["with_optimum"]) == (0.75, 1 / 3, 3)
    assert found["excess_steps"] == pytest.approx((0 + 3 + 13) / 3)
    assert (found["model_calls"], found["milliseconds"], found["return"]) == (20, 1.5, 0.75)
    assert by_optimum(episodes) == [
        {"optimum": 2, "episodes": 2, "success": 1, "optimal": 0.5},
        {"optimum": 3, "episodes": 1, "success": 0, "optimal": 0},
    ]
    nothing = summarize(episodes, [], None, ends=False)
    assert (nothing["success"], nothing["optimal"], nothing["return"]) == (None, None, 0.75)


@pytest.mark.parametrize("seed", range(5))
def test_fewest_steps_are_those_of_an_independent_search(seed):
    rng = np.random.default_rng(seed)
    places, actions = 12, 2
    successor = rng.integers(places, size=(places, actions))
    source, action = map(np.ravel, np.indices((places, actions)))
    copies = np.repeat(np.arange(places), 2)  # every place is shown twice, so that content has to tell
    rows = {"source": 2 * source + rng.integers(2, size=len(source)), "successor": 2 * successor.ravel()}
    reward = (source == 3).astype(float)
    shown = copies[:, None].astype(np.float32)
    data = TransitionDataset(**rows, action=action, auxiliary=reward, reward=reward, observation=shown)
    graph = csr_array((np.ones(len(source)), (source, successor.ravel())), shape=(places, places))
    expected = shortest_path(graph, unweighted=True)
    paths = ShortestPaths(data)
    for goal, start in itertools.product(range(places), repeat=2):
        if start == 0:
            paths.to_observation(np.array([goal], np.float32))
        known = expected[start, goal]
        assert paths.steps(np.array([start], np.float32)) == (None if np.isinf(known) else known)
    paths.to_rows(data.reward > 0)
    for start in range(places):
        known = expected[start, 3] + 1
        assert paths.steps(np.array([start], np.float32)) == (None if np.isinf(known) else known)
    assert paths.steps(np.array([99], np.float32)) is None


def test_nothing_is_known_of_a_world_with_several_successors_of_one_action():
    data = TransitionDataset([0, 0], [0, 0], [1, 2], auxiliary=[0, 0], observation=np.arange(3.0)[:, None])
    paths = ShortestPaths(data)
    paths.to_observation(np.array([1.0]))
    assert (paths.said, paths.steps(np.array([0.0]))) == (None, None)


def test_help_imports_no_torch():
    code = (
        "import sys\nfrom pjepa_agent.cli.plan import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    print({'torch', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("set()")
