"""R_D* of small worlds that are known completely, with p = [the goal]: levels counted by others, and by the oracles."""

import gymnasium
import numpy as np
from bisim_theory import TransitionDataset, empirical_bisimulation
from bisim_theory.data.terminals import absorb
from gymnasium.envs.toy_text.frozen_lake import FrozenLakeEnv
from support.oracles import breadth_first_levels, literal_levels

LEFT, RIGHT, FORWARD, NOTHING = 0, 1, 2, 3
AHEAD = np.array([(1, 0), (0, 1), (-1, 0), (0, -1)])  # of directions 0..3


def dataset(rows, goals):
    """Make a dataset of rows (state, action, successor, terminated), with p known of every state."""
    source, action, successor, terminated = np.array(rows).T
    states = 1 + max(source.max(), successor.max())
    return TransitionDataset(source, action, successor, terminated=terminated.astype(bool),
                             observation_auxiliary=np.isin(np.arange(states), goals))  # fmt: skip


def frozen_lake():
    """Every transition of FrozenLake 4x4 without slipping, from the cells that do not end an episode."""
    env = FrozenLakeEnv(is_slippery=False)
    cells = b"".join(env.desc.ravel().tolist())
    rows = [
        (cell, action, successor, ended)
        for cell, kind in enumerate(cells.decode())
        if kind not in "HG"
        for action, [(_, successor, _, ended)] in env.P[cell].items()
    ]
    return dataset(rows, [cells.index(b"G")])


def empty_room(side=3):
    """Every transition of MiniGrid's empty room, by its documented rules: turn, or go ahead unless a wall is there."""

    def number(x, y, direction):
        return (y * side + x) * 4 + direction

    rows = []
    for x, y, direction in np.ndindex(side, side, 4):
        if (x, y) == (side - 1, side - 1):  # the goal ends an episode
            continue
        ahead = np.clip(AHEAD[direction] + (x, y), 0, side - 1)
        for action, successor in (
            (LEFT, number(x, y, (direction - 1) % 4)),
            (RIGHT, number(x, y, (direction + 1) % 4)),
            (FORWARD, number(*ahead, direction)),
            (NOTHING, number(x, y, direction)),
        ):
            rows.append((number(x, y, direction), action, successor, successor >= number(side - 1, side - 1, 0)))
    return dataset(rows, np.arange(4) + number(side - 1, side - 1, 0))


def check(data, per_level, classes):
    relation = empirical_bisimulation(data)
    assert relation.distinguished_pairs_per_level == per_level
    assert relation.bisimulation_classes == classes
    for expected in (literal_levels(data), breadth_first_levels(data)):
        assert np.bincount(list(expected.values()))[1:].tolist() == [2 * number for number in per_level]
    return relation


def test_frozen_lake_with_absorbing_terminals():
    data, terminals = absorb(frozen_lake())
    assert (terminals.absorbing, terminals.rows, terminals.sources) == (5, 20, 0)
    relation = check(data, [15, 14, 25, 21, 17, 18, 4], 13)
    assert (len(relation.observations), relation.leaves) == (16, 0)


def test_frozen_lake_with_leaves():
    relation = check(frozen_lake(), [15, 10, 12, 8, 4, 4, 3, 4, 2], None)
    assert (len(relation.observations), relation.leaves) == (16, 5)
    bisimilar = relation.level(np.arange(16)[:, None], np.arange(16)) == 0
    through = (bisimilar[:, :, None] & bisimilar[None]).transpose(1, 0, 2)  # by middle, then first and last
    assert (through & ~bisimilar).sum() == 396  # in either direction
    x, y, z = relation.intransitive_triple
    assert bisimilar[[x, y, x], [y, z, z]].tolist() == [True, True, False]


def test_an_empty_room_with_absorbing_terminals():
    data, terminals = absorb(empty_room())
    assert (terminals.absorbing, terminals.rows) == (2, 8)  # the goal is reached from the left and from above
    check(data, [64, 60, 156, 155, 95, 29, 1], 33)


def minigrid_rows(env):
    """Explore a MiniGrid world breadth first; states are positions and directions."""
    env.reset(seed=0)
    start = (*map(int, env.agent_pos), int(env.agent_dir))
    rows, number, open_ = [], {start: 0}, [start]
    for state in open_:
        for action in range(env.action_space.n):
            env.agent_pos, env.agent_dir = np.array(state[:2]), state[2]
            _, _, terminated, _, _ = env.step(action)
            reached = (*map(int, env.agent_pos), int(env.agent_dir))
            if reached not in number:
                number[reached] = len(number)
                if not terminated:
                    open_.append(reached)
            rows.append((number[state], action, number[reached], terminated))
    return rows


def test_the_empty_room_of_minigrid_is_the_documented_one():
    import minigrid  # noqa: F401 - registers its worlds

    with gymnasium.make("MiniGrid-Empty-5x5-v0") as env:
        rows = minigrid_rows(env.unwrapped)
    goals = np.unique([successor for _, _, successor, terminated in rows if terminated])
    check(absorb(dataset(rows, goals))[0], [64, 60, 156, 155, 95, 29, 1], 33)
