import dataclasses

import numpy as np
import pytest
from bisim_theory import TransitionDataset, empirical_bisimulation, identify_by_content, write_transitions
from bisim_theory.cli import main as bisim_check
from counting_env.branching import collect_branches
from support.counting_worlds import raw, value

SMALL = {"layouts": 4, "shapes": ["triangle", "disk"], "colors": [[255, 0, 0], [0, 0, 255]]}
FIELDS = {field.name for field in dataclasses.fields(TransitionDataset)}


def dataset(arrays):
    labels = {name: value for name, value in arrays.items() if name not in FIELDS}
    return TransitionDataset(**{n: v for n, v in arrays.items() if n in FIELDS}, labels=labels)


@pytest.fixture(scope="module")
def world():
    return raw(**SMALL).world


def test_every_observation_is_another_image_and_zero_is_the_black_one(world):
    images = world.images()
    assert len(world) == 1 + 8 * 2 * 2 * 4 == len(images)
    assert len(np.unique(images, axis=0)) == len(images)
    assert not images[0].any()
    assert (world.count == 0).sum() == 1


@pytest.mark.parametrize("target", range(9))
def test_the_largest_bisimulation_has_the_nine_classes_of_corollary_1(target):
    data = dataset(raw(target=target, **SMALL).world.transitions())
    assert (identify_by_content(data).source == data.source).all()
    relation = empirical_bisimulation(data)
    assert len(relation.sources) == data.frames
    assert relation.bisimulation_classes == 9
    counts = data.labels["count"]
    assert len(np.unique(np.stack([relation.classes, counts]), axis=1).T) == 9
    # A pair is told apart as soon as one of its counts can have walked to the target (proof of Proposition 2).
    i, j = np.triu_indices(data.frames, 1)
    away = abs(counts - target)
    expected = np.where(counts[i] == counts[j], 0, np.minimum(away[i], away[j]) + 1)
    assert (relation.level(i, j) == expected).all()


@pytest.mark.parametrize("target", [0, 3, 8])
def test_equal_counts_are_a_bisimulation_as_proposition_1_says(target):
    data = dataset(raw(target=target, **SMALL).world.transitions())
    counts = data.labels["count"]
    rows = np.lexsort((data.action, counts[data.source]))
    count, action = counts[data.source][rows], data.action[rows]
    same = (count[1:] == count[:-1]) & (action[1:] == action[:-1])
    assert (data.auxiliary[rows][1:] == data.auxiliary[rows][:-1])[same].all()
    reached = counts[data.successor][rows]
    assert (reached[1:] == reached[:-1])[same].all()
    assert same.sum() == len(data) - 18


def test_bisim_check_says_nine(tmp_path, capsys):
    np.savez_compressed(tmp_path / "finite.npz", **raw(**SMALL).world.transitions())
    assert bisim_check([str(tmp_path / "finite.npz"), "--identity", "content"]) == 0
    out = capsys.readouterr().out
    assert "an equivalence with 9 classes" in out
    assert "a well-trained model needs exactly 9 different embeddings" in out
    assert "certified share: 1.000" in out


def test_the_environment_walks_through_its_enumeration(world):
    env, images, arrays = raw(**SMALL), world.images(), world.transitions()
    f = {(s, a): t for s, a, t in zip(arrays["source"], arrays["action"], arrays["successor"], strict=True)}
    at = {image.tobytes(): i for i, image in enumerate(images)}
    rng = np.random.default_rng(0)
    ended, observation = True, None
    for step in range(400):
        if ended:
            observation, info = env.reset(seed=step)
        here = at[observation.tobytes()]
        assert info["count"] == world.count[here]
        code = int(rng.integers(2))
        observation, _, ended, _, info = env.step(value(env, code))
        assert at[observation.tobytes()] == f[here, code]


def test_a_finite_reset_takes_a_layout_and_nothing_foreign():
    env = raw(**SMALL)
    options = {"count": 3, "shape": "disk", "color": [0, 0, 255], "layout": 2}
    image, _ = env.reset(seed=0, options=options)
    assert (env.reset(seed=1, options=options)[0] == image).all()
    for wrong, message in (
        ({"layout": 4}, r"options\['layout'\]=4: must be an integer in 0\.\.3"),
        ({"positions": [[9, 9]]}, "known are count, shape, color, layout"),
        ({"color": [0, 255, 0]}, "none of the colours"),
        ({"shape": "bar"}, "must be one of triangle, disk"),
    ):
        with pytest.raises(ValueError, match=message):
            env.reset(options=wrong)
    for arguments, message in (
        ({"layouts": 0}, "layouts=0: must be an integer in"),
        ({"layouts": 2, "shapes": ["bar", "bar"]}, "shapes: must be different"),
        ({"layouts": 10_000}, "layouts=10000: must be"),
    ):
        with pytest.raises(ValueError, match=message):
            raw(**arguments)


def test_a_restored_state_goes_on_as_before_or_with_new_positions():
    for arguments in ({}, SMALL):
        env = raw(render_mode="rgb_array", **arguments)
        first, _ = env.reset(seed=0, options={"count": 2})
        state = env.save_state()
        after = [env.step(value(env, adds))[0] for adds in (True, False, False)]
        assert (env.restore_state(state) == first).all()
        assert (env.render() == first).all()
        again = [env.step(value(env, adds))[0] for adds in (True, False, False)]
        assert all((a == b).all() for a, b in zip(after, again, strict=True))
        env.restore_state(state, rewind_random=False)
        fresh, _, _, _, info = env.step(value(env, True))
        assert info["count"] == 3
        assert (fresh == after[0]).all() == (env.world is not None)


def test_branches_certify_every_pair_of_roots():
    env = raw()
    arrays = collect_branches(env, roots=12, depth=5, seed=0)
    data = dataset(arrays)
    counts, source, successor = arrays["count"], arrays["source"], arrays["successor"]
    assert (counts[successor] == np.clip(counts[source] + np.where(arrays["action"] == 1, 1, -1), 0, 8)).all()
    assert (arrays["auxiliary"] == (counts[source] == 4)).all()
    assert (arrays["terminated"] == (counts[source] == 4)).all()
    assert np.unique(successor).size == len(successor)  # every branch has an observation of its own
    lit = arrays["observation"].any((1, 2, 3))
    assert len(np.unique(arrays["observation"][lit], axis=0)) == lit.sum()
    relation = empirical_bisimulation(data)
    roots = np.setdiff1d(source, successor)
    assert len(roots) == 12
    apart = counts[roots][:, None] != counts[roots]
    assert ((relation.level(roots[:, None], roots) > 0) == apart).all()
    with pytest.raises(ValueError, match="must both be at least 1"):
        collect_branches(env, 0, 5)


def test_branches_are_a_dataset(tmp_path):
    data = dataset(collect_branches(raw(), roots=2, depth=2, seed=0))
    write_transitions(tmp_path / "transitions.npz", data)
    assert bisim_check([str(tmp_path)]) == 0
