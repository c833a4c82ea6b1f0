"""Colours of all figures, as people see them who tell fewer apart."""

import itertools

import matplotlib
import numpy as np
import pytest
from bisim_theory.report import charts
from matplotlib.figure import Figure
from pjepa_agent.figures.colors import DISTINCT, MARKERS, line_style, markers, ordered_colors
from pjepa_agent.figures.run import draw_pca, draw_training_curves
from pjepa_agent.runs.metrics import ACCURACY, MetricsFile
from support.color_vision import SIMULATED, as_seen, lab, nearest

DEFICIENCIES = ("none", "protanopia", "deuteranopia", "tritanopia")

SHADES = [*(charts._shade(level) for level in range(1, charts.SHADES + 1)), charts.UNDISTINGUISHED]


@pytest.mark.parametrize("vision", DEFICIENCIES)
def test_colours_of_few_kinds_are_apart_at_a_glance(vision):
    assert nearest(DISTINCT, vision) > 15


@pytest.mark.parametrize("vision", SIMULATED)
def test_colours_of_ordered_classes_and_of_the_report_are_apart_in_grey_too(vision):
    assert nearest(list(ordered_colors(9)), vision) > 8
    assert nearest([charts.ACCENT, charts.PALE, charts.GREY, charts.INK], vision) > 14
    assert nearest(SHADES, vision) > 9


@pytest.mark.parametrize("vision", SIMULATED)
@pytest.mark.parametrize("number", [2, 9, 40])
def test_ordered_classes_grow_lighter_for_everybody(vision, number):
    assert (np.diff(lab(list(ordered_colors(number)), vision)[:, 0]) > 0).all()


def test_the_simulation_finds_palettes_that_fail():
    """Red and green of the usual palettes are one colour to many."""
    assert nearest(matplotlib.color_sequences["tab10"][:7], "protanopia") < 8
    assert nearest(list(matplotlib.colormaps["turbo"](np.linspace(0, 1, 9))), "deuteranopia") < 8
    assert nearest(["#e41a1c", "#377eb8"], "deuteranopia") > 40


@pytest.mark.parametrize("vision", SIMULATED)
def test_the_simulation_leaves_greys_alone(vision):
    greys = ["#000000", "#404040", "#909090", "#ffffff"]
    np.testing.assert_allclose(as_seen(greys, vision), as_seen(greys, "none"), atol=1e-3)


def test_neighbouring_classes_and_lines_differ_by_more_than_colour():
    assert all(one != other for one, other in itertools.pairwise(markers(40)))
    looks = {(DISTINCT[number % len(DISTINCT)], line_style(number)) for number in range(28)}
    assert len(looks) == 28
    assert len({line_style(number) for number in range(4)}) == 4
    assert len(set(MARKERS)) == len(MARKERS)


def test_the_pca_names_its_classes_in_the_picture():
    axes = Figure().subplots()
    embedding = np.random.default_rng(0).normal(size=(60, 5))
    draw_pca(axes, embedding, np.arange(60) % 6)
    assert sorted(text.get_text() for text in axes.texts) == list("012345")
    shapes = [each.get_paths()[0].vertices.tobytes() for each in axes.collections]
    assert len(set(shapes)) == 6


def record(path, rows):
    metrics = MetricsFile(path)
    for row in rows:
        metrics.append(row)
    return metrics


def test_curves_of_one_evaluation_have_whole_updates_and_say_what_is_missing(tmp_path):
    nothing = float("nan")
    rows = [
        {"update": 0, ACCURACY: nothing, "losses/transition": nothing},
        {"update": 4, ACCURACY: nothing, "losses/transition": 0.27},
    ]
    metrics = record(tmp_path / "metrics.csv", rows)
    figure = Figure()
    draw_training_curves(figure, metrics)
    figure.draw_without_rendering()
    left, right = figure.axes
    for axes in (left, right):
        ticks = [text.get_text().replace("\N{MINUS SIGN}", "-") for text in axes.get_xticklabels()]
        assert ticks
        assert all(float(tick).is_integer() for tick in ticks)
    assert [text.get_text() for text in right.texts] == ["not measured"]
    assert not left.texts


def test_ticks_of_curves_do_not_cover_each_other(tmp_path):
    losses = np.geomspace(2.4, 0.27, 5)
    metrics = record(
        tmp_path / "metrics.csv",
        [{"update": 250 * number, ACCURACY: 0.5, "losses/transition": loss} for number, loss in enumerate(losses)],
    )
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    draw_training_curves(figure, metrics)
    figure.draw_without_rendering()
    for axes in figure.axes:
        for labels, axis in ((axes.get_xticklabels(which="both"), 0), (axes.get_yticklabels(which="both"), 1)):
            boxes = sorted(
                (each.get_window_extent().get_points()[:, axis] for each in labels if each.get_text()), key=min
            )
            inside = [each for each in boxes if each[1] > each[0]]
            assert all(one[1] <= other[0] for one, other in itertools.pairwise(inside))
