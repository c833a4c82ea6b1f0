"""Draw planned episodes: a strip of observations with what the plans expected of them, and an animation."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from bisim_theory.files import atomic_write
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from pjepa_agent.figures.colors import DISTINCT
from pjepa_agent.figures.run import save_figure, unstyled
from pjepa_agent.planning.episodes import Episode

Classify = Callable[[NDArray[Any]], list[str]] | None
"""Names what embeddings (n, d) are taken for."""

MOST_COLUMNS = 12
"""Most observations of an episode that are drawn; of a longer one the first, and the last."""

MOST_SHOWN = 6
"""Most episodes that are drawn."""

EXPLANATION = (
    "above: the count; below: what the plan of the step before expected, and the first plan; "
    "red, with \N{NOT EQUAL TO}: not what came"
)

SIDE, CAPTION, MARGIN = 256, 76, 8
"""Sizes of an animation in pixels: of an observation, and of the text beneath."""

MILLISECONDS, LAST_MILLISECONDS = 700, 1_800
"""How long an observation is shown, and the last of an episode."""


def shown_episodes(episodes: Sequence[Episode]) -> list[tuple[int, Episode]]:
    """Return the episodes that are drawn, with their numbers from 1."""
    return [(number, each) for number, each in enumerate(episodes, 1) if each.pictured][:MOST_SHOWN]


@unstyled
def write_strips(path: Path, episodes: Sequence[Episode], goals: NDArray[Any], classify: Classify) -> None:
    """Write a picture with a row of observations for each episode.

    Over an observation stands what is real: its label, or its reward. Beneath stands what was imagined: by the plan of
    the step before, and by the first plan; in red, with a sign, where it is not what came.

    Args:
        path: file to write.
        episodes: some of which kept their observations.
        goals: (G, ...) goal observations; those of the episodes are drawn before them.
        classify: names what predictions are taken for; None leaves them out.

    Raises:
        OSError: the file cannot be written.
    """
    shown = shown_episodes(episodes)
    with_goal = any(each.problem.goal is not None for _, each in shown)
    columns = max(min(len(each) + 1, MOST_COLUMNS) for _, each in shown) + with_goal
    width, height = max(1.35 * columns + 0.2, 7), 2.1 * len(shown) + 0.2
    figure = Figure(figsize=(width, height))
    figure.subplots_adjust(0.1 / width, 0.5 / height, 1 - 0.1 / width, 1 - 0.65 / height, wspace=0.06, hspace=0.65)
    axes = figure.subplots(len(shown), columns, squeeze=False)
    for row, (number, episode) in zip(axes, shown, strict=True):
        for each in row:
            each.set_axis_off()
        if with_goal and episode.problem.goal is not None:
            name = "" if episode.problem.count is None else f": {episode.problem.count}"
            _draw(row[0], goals[episode.problem.goal], f"goal{name}")
        _draw_row(row[int(with_goal) :], episode, number, classify)
    figure.text(
        0.1 / width,
        1 - 0.18 / height,
        EXPLANATION if any(_names(each, classify)[1] for _, each in shown) else "",
        fontsize=8,
    )
    save_figure(figure, path, dpi=100)


def _draw_row(row: NDArray[Any], episode: Episode, number: int, classify: Classify) -> None:
    steps = _columns(len(episode) + 1)
    real, next_names, first_names = _names(episode, classify)
    for axes, step in zip(row, steps, strict=False):
        title = f"{real[step]}" if step else f"episode {number}\nstart {real[step]}"
        if step >= MOST_COLUMNS:
            title = f"... step {step}\n{title}"
        _draw(axes, episode.steps[step].observation, title)
        if not next_names or not step:
            continue
        lines = [(f"next: {next_names[step]}", next_names[step])]
        if step < len(first_names):
            lines.append((f"first plan: {first_names[step]}", first_names[step]))
        for place, (text, name) in enumerate(lines):
            came = name == real[step]
            axes.text(
                0.5, -0.04 - 0.16 * place, text if came else f"{text} \N{NOT EQUAL TO}", transform=axes.transAxes,
                ha="center", va="top", color="black" if came else DISTINCT[1], fontsize=8,
            )  # fmt: skip


def _draw(axes: Axes, observation: NDArray[Any], title: str) -> None:
    axes.imshow(as_rgb(observation), interpolation="nearest")
    axes.set_title(title, fontsize=9)


def _columns(observations: int) -> list[int]:
    if observations <= MOST_COLUMNS:
        return list(range(observations))
    return [*range(MOST_COLUMNS - 1), observations - 1]


def _names(episode: Episode, classify: Classify) -> tuple[list[str], list[str], list[str]]:
    """Return what is real at each step, what the step before imagined of it, and what the first plan did.

    The last two have an entry before the first step, which nobody imagined, and are empty where nothing is named.
    """
    labels = [step.labels.get("count") for step in episode.steps]
    real = [
        f"reward {step.reward:g}" if label is None else f"{label}"
        for step, label in zip(episode.steps, labels, strict=True)
    ]
    if classify is None or not episode.predicted or None in labels:
        return real, [], []
    following = ["", *classify(np.stack([plan[0] for plan in episode.predicted]))]
    first = ["", *classify(episode.predicted[0])]
    return real, following, first


def as_rgb(observation: NDArray[Any]) -> NDArray[np.uint8]:
    """Return an image (H, W, 3) uint8 of an observation, stretched to full contrast; a vector becomes grey bars.

    Of a stack of frames the latest is shown.
    """
    if observation.ndim == 1:
        span = float(np.ptp(observation)) or 1.0
        grey = ((observation - observation.min()) / span * 255).astype(np.uint8)
        return np.repeat(np.repeat(grey[None, :, None], max(1, len(grey) // 4), 0), 3, 2)
    channels = observation.shape[-1]
    latest = observation[..., -3:] if channels % 3 == 0 else np.repeat(observation[..., -1:], 3, -1)
    return (latest.astype(np.float32) * (255 / max(int(latest.max()), 1))).astype(np.uint8)


def write_animation(path: Path, episodes: Sequence[Episode], goals: NDArray[Any], classify: Classify) -> None:
    """Write the episodes of `write_strips` one after the other as a GIF, with the real and the imagined labels.

    Raises:
        OSError: the file cannot be written.
    """
    frames, durations = [], []
    for number, episode in shown_episodes(episodes):
        real, following, _ = _names(episode, classify)
        goal = None if episode.problem.goal is None else goals[episode.problem.goal]
        for step in range(len(episode) + 1):
            text = f"episode {number}, step {step}\nreal: {real[step]}"
            if following:
                text += f", imagined: {following[step] or '-'}"
            if step == len(episode):
                text += "\nreached" if episode.reached else "\nover"
                text += "" if episode.problem.optimum is None else f"; {episode.problem.optimum} steps are the fewest"
            frames.append(_frame(episode.steps[step].observation, goal, text))
            durations.append(LAST_MILLISECONDS if step == len(episode) else MILLISECONDS)
    content = io.BytesIO()
    frames[0].save(content, "GIF", save_all=True, append_images=frames[1:], duration=durations, loop=0, optimize=False)
    with atomic_write(path) as file:
        file.write(content.getvalue())


def _frame(observation: NDArray[Any], goal: NDArray[Any] | None, text: str) -> Image.Image:
    images = [observation] if goal is None else [observation, goal]
    width = max(SIDE * len(images) + MARGIN * (len(images) - 1), SIDE + 64)
    canvas = Image.new("RGB", (width, SIDE + CAPTION), "white")
    for place, image in enumerate(images):
        picture = Image.fromarray(as_rgb(image)).resize((SIDE, SIDE), Image.Resampling.NEAREST)
        canvas.paste(picture, (place * (SIDE + MARGIN), 0))
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(16)
    draw.multiline_text((4, SIDE + 4), text, fill="black", font=font, spacing=4)
    if goal is not None:
        draw.text((SIDE + MARGIN + 4, SIDE + 4), "goal", fill="black", font=font)
    return canvas
