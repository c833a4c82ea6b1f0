"""Figures of worlds other than the counting one: what is coloured by what, in which order, and by which frames."""

import dataclasses
import functools

import numpy as np
import pytest
from bisim_theory.data.auxiliary import with_auxiliary
from bisim_theory.data.auxiliary_functions import auxiliary_values
from matplotlib.figure import Figure
from PIL import Image
from pjepa_agent.config.presets import make_config
from pjepa_agent.envs.base import Spec
from pjepa_agent.envs.terminals import absorb_terminals
from pjepa_agent.evaluation.held_out_episodes import HeldOutEpisodes
from pjepa_agent.figures.arrangement import LEVELS, arrange, order_by_levels
from pjepa_agent.figures.figure_two import WorldColumn, draw_figure_two, measures_text
from pjepa_agent.figures.strips import _vector, draw_strips, find_strips, pictures_of
from pjepa_agent.figures.world import panel, principal_components, spaced, write_world_figures
from pjepa_agent.model import PJEPA
from pjepa_agent.runs.metrics import ACCURACY, LEAST_EXPLAINED, MetricsFile
from support.corridor import PLACES, walks

SMALL = [
    "network.width=4", "network.latent_dim=16", "network.hidden_dim=32", "collection.transitions=300",
    "optimization.batch_size=16",
]  # fmt: skip


def world(auxiliary="terminated", label=False, observation=None, absorb=True, **fields):
    """Held-out episodes of the corridor and an untrained model of it."""
    data = walks(vector=fields.pop("vector", False))
    if absorb:
        data = with_absorbing(data)
    if observation is not None:
        data = dataclasses.replace(data, observation=observation(data))
    labels = dict(data.labels) if label else {}
    p = auxiliary_values(data, auxiliary)
    data = with_auxiliary(dataclasses.replace(data, labels=labels, size=data.frames), p)
    config = make_config(environment="support.corridor:Corridor-v0", auxiliary=auxiliary).override(
        [*SMALL, *(f"{name}={value}" for name, value in fields.items())]
    )
    if p.value.ndim > 1 or auxiliary not in ("reward", "q"):
        dim = p.value.shape[1] if p.value.ndim > 1 else 0
        config = dataclasses.replace(config, objective=dataclasses.replace(config.objective, auxiliary_dim=dim))
    frames = data.observation
    data = dataclasses.replace(data, action_value=np.eye(2, dtype=np.float32)[data.action], size=data.frames)
    spec = Spec(tuple(frames.shape[1:]), "uint8" if frames.ndim == 4 else "float32", 2)
    return HeldOutEpisodes(config, spec, data), PJEPA.untrained(config, spec)


def with_absorbing(data):
    values = np.eye(2, dtype=np.float32)[data.action]
    return absorb_terminals(dataclasses.replace(data, action_value=values), 0)


def noise(data):
    """Observations that never repeat, each with one action, so that B_D* is no equivalence."""
    return np.random.default_rng(0).normal(size=(data.frames, 3)).astype(np.float32)


@functools.cache
def classes():
    return world("terminated")


def test_a_named_label_colours_and_sorts():
    held_out, model = world("terminated", label=True)
    found = arrange(held_out, model)
    assert found.kind == "place"
    assert found.names == ("0", "1", "2", "3", "4")
    assert (np.diff(found.value[found.order]) >= 0).all()
    assert found.embedding.shape == (PLACES, 16)


def test_classes_of_the_relation_are_numbered_in_the_order_of_their_levels():
    held_out, model = classes()
    assert held_out.label_name == "class of B_D*"
    found = arrange(held_out, model)
    assert found.kind == "class of B_D*"
    assert len(found.names) == held_out.relation.bisimulation_classes == PLACES
    assert found.value[found.order].tolist() == list(range(PLACES))
    # The goal is told apart first and the two places furthest from it last, so they are at the ends.
    place = [int(np.argmax(held_out.data.observation[i][5].any(-1)) // 4) for i in held_out.relation.observations]
    ordered = np.array(place)[found.order].tolist()
    ordered = ordered if ordered[0] == PLACES - 1 else ordered[::-1]
    assert ordered[0] == PLACES - 1
    assert set(ordered[-2:]) == {0, 1}


def test_p_colours_where_there_are_no_classes():
    held_out, model = world("reward", absorb=False, observation=noise)
    assert held_out.labels is None
    found = arrange(held_out, model)
    assert found.kind == "p (reward)"
    assert found.names == ("0", "1")


def test_several_numbers_of_p_give_way_to_the_order_of_levels():
    held_out, model = world("terminated+reward", absorb=False, observation=noise)
    found = arrange(held_out, model)
    assert (found.kind, found.names) == (LEVELS, ())
    np.testing.assert_array_equal(found.value[found.order], np.arange(len(found.value)))


@pytest.mark.parametrize("seed", range(20))
def test_nested_classes_stand_in_one_piece_at_every_level(seed):
    rng = np.random.default_rng(seed)
    path = rng.integers(0, 2, (12, 4))  # of each leaf from the root: the first branch is level 1
    differs = path[:, None] != path
    levels = np.where(differs.any(-1), differs.argmax(-1) + 1, 0)
    order = order_by_levels(levels)
    assert sorted(order.tolist()) == list(range(12))
    for level in range(1, 5):
        _, code = np.unique(path[order][:, :level], axis=0, return_inverse=True)
        assert 1 + (np.diff(code.reshape(-1)) != 0).sum() == len(np.unique(code))


def test_channels_are_frames_as_the_world_says_or_by_their_number():
    frame = np.arange(2 * 3 * 12, dtype=np.uint8).reshape(2, 3, 12)
    shapes = {
        (1, 1): [(2, 3)], (3, 1): [(2, 3, 3)], (4, 1): [(2, 3)] * 4, (5, 1): [(2, 3)] * 5, (6, 1): [(2, 3, 3)] * 2,
        (12, 1): [(2, 3, 3)] * 4, (4, 4): [(2, 3)] * 4, (12, 4): [(2, 3, 3)] * 4, (12, 12): [(2, 3)] * 12,
        (8, 2): [(2, 3, 4)] * 2, (10, 2): [(2, 3)] * 10,
    }  # fmt: skip
    for (channels, stack), expected in shapes.items():
        found = pictures_of(frame[..., :channels], stack)
        assert [each.shape for each in found] == expected, (channels, stack)
        joined = np.concatenate([each.reshape(2, 3, -1) for each in found], -1)
        np.testing.assert_array_equal(joined, frame[..., :channels])
    opaque = np.full((2, 3, 4), 255, np.uint8)
    assert [each.shape for each in pictures_of(opaque, 1)] == [(2, 3, 4)]


def test_strips_follow_the_witness_to_where_p_differs():
    held_out, model = classes()
    strips = find_strips(held_out, model, 9)
    levels = held_out.relation.distinguished_pairs_per_level
    assert [pair.level for pair in strips.pairs] == list(range(1, len(levels) + 1))
    for pair in strips.pairs:
        assert len(pair.witness) == pair.level - 1
        assert pair.complete
        assert pair.p[0] != pair.p[1]
        for path in (pair.x, pair.y):
            for here, action, there in zip(path, pair.witness, path[1:], strict=False):
                row = (held_out.relation.data.source == here) & (held_out.relation.data.action == action)
                assert set(held_out.relation.data.successor[row].tolist()) == {there}
    assert "not shown" not in texts(strips)[1][0]
    ends = find_strips(held_out, model, 2)
    assert [pair.level for pair in ends.pairs] == [1, len(levels)]
    assert len(levels) > 3
    assert texts(ends)[1][0].endswith(f"\nnot shown: levels 2 to {len(levels) - 1} of {len(levels)}")


def texts(strips, size=(4.7, 3.4)):
    axes = panel(Figure(figsize=(6, 5)), 0.2, 0.2, *size)
    draw_strips(axes, strips, size)
    return axes, [axes.get_title(), *(text.get_text() for text in axes.texts)]


def test_a_stack_shows_its_earlier_frames_once():
    held_out, model = world(
        "terminated", observation=lambda data: np.repeat(data.observation[..., :1], 4, -1), **{"collection.stack": 4}
    )
    strips = find_strips(held_out, model, 3)
    axes, said = texts(strips)
    assert "left of the line: 3 earlier frames of the stack" in said[0]
    shown = sum(2 * (len(pair.shown) + 3) for pair in strips.pairs)
    assert len(axes.images) == shown
    for image in axes.images:
        left, right, bottom, top = image.get_extent()
        assert 0 <= left < right <= 4.7
        assert 0 <= top < bottom <= 3.4


def test_vectors_are_said_in_numbers():
    held_out, model = world("terminated", vector=True)
    axes, said = texts(find_strips(held_out, model, 3))
    assert "(vectors, so in numbers)" in said[0]
    assert not axes.images
    assert any(each.startswith("x  (0, 0, 0") for each in said) or any(each.startswith("x  (1, 0") for each in said)


@pytest.mark.parametrize(
    ("observations", "said"),
    [
        (np.eye(9), ["one-hot: number 3 of 0 to 8", "one-hot: number 8 of 0 to 8"]),
        (np.arange(81).reshape(9, 9), ["(27, 28, 29, 30, 31, 32, \N{HORIZONTAL ELLIPSIS} 3 more)"]),
        (np.eye(9)[:, :5], ["(0, 0, 0, 1, 0)", "(0, 0, 0, 0, 0)"]),
        (2 * np.eye(9), ["(0, 0, 0, 2, 0, 0, \N{HORIZONTAL ELLIPSIS} 3 more)"]),
    ],
)
def test_of_a_long_vector_it_is_said_what_is_not_written(observations, said):
    written = [_vector(row) for row in observations]
    assert written[3] == said[0]
    assert said[-1] in written


def test_p_that_protects_nothing_is_said():
    held_out, model = world("constant")
    _, said = texts(find_strips(held_out, model, 3))
    assert said == ["No pair of observations is distinguished:\np protects nothing here."]


def test_ticks_have_room():
    places = np.cumsum(np.random.default_rng(0).uniform(0, 0.3, 100))
    kept = spaced(places, 1.0)
    assert (np.diff(places[kept]) >= 0.2).all()
    assert kept[0] == 0
    assert spaced(np.arange(5), 1.0) == [0, 1, 2, 3, 4]


def test_principal_components_of_one_point_and_of_a_line():
    points, share = principal_components(np.ones((1, 4), np.float32))
    assert points.shape == (1, 2)
    np.testing.assert_array_equal(share, 0)
    line = np.outer(np.arange(5.0), [3.0, 4.0])
    points, share = principal_components(line)
    np.testing.assert_allclose(abs(points[:, 0]), abs(5 * (np.arange(5) - 2)))
    np.testing.assert_allclose(share, [1, 0], atol=1e-12)


def draw(folder, held_out, model):
    metrics = MetricsFile(folder / "metrics.csv")
    for update in range(3):
        metrics.append({"update": update, "losses/transition": 1.0, ACCURACY: np.nan, LEAST_EXPLAINED: 0.5})
    write_world_figures(folder / "figures", held_out, model, metrics)
    return {path.name: path.read_bytes() for path in (folder / "figures").iterdir()}


def test_all_figures_are_drawn_the_same_again(tmp_path):
    folders = [tmp_path / name for name in "ab"]
    for folder in folders:
        folder.mkdir()
    first, again = (draw(folder, *classes()) for folder in folders)
    assert first == again
    assert set(first) == {"pca.png", "distances.png", "witnesses.png", "curves.png"}
    for name in first:
        assert np.asarray(Image.open(folders[0] / "figures" / name).convert("L")).std() > 1


def test_vectors_of_constant_p_are_drawn_too(tmp_path):
    held_out, model = world("constant", vector=True)
    assert len(draw(tmp_path, held_out, model)) == 4
    column = WorldColumn("w, p: x", arrange(held_out, model), find_strips(held_out, model, 3), held_out.measure(model))
    draw_figure_two([column, column], tmp_path / "two.png")
    assert measures_text(column.measures).startswith("no pair to explain")
