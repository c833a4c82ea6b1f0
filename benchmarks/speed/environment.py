"""Measure the frames per second of the counting environment and of its peers, which take turns on one core.

Command: ``uv run python -m benchmarks.speed.environment``; ``--steps 10000000`` adds the memory of a long run.
"""

import argparse
import random
import resource
import statistics
import time
from collections.abc import Callable

import counting_env
import gymnasium
import minigrid  # noqa: F401 - registers its environments
import numpy as np
from counting_env.drawing import PlacementStream
from gymnasium.vector import AutoresetMode
from minigrid.wrappers import ImgObsWrapper, RGBImgObsWrapper
from PIL import Image, ImageDraw

ROUNDS, SECONDS, BATCH = 7, 0.6, 256
PEERS = ("black frame", "authors' design", "Minigrid 64x64 RGB", "memset")
ACTIONS = [np.array([value], np.float32) for value in np.random.default_rng(0).uniform(-1, 1, 4096)]


class BlackEnv(counting_env.CountingEnv):
    """Do the same bookkeeping and return a fresh black frame: the environment without placing and drawing."""

    def _observe(self, corners: np.ndarray | None = None) -> tuple:
        positions = np.full((self.arguments.max_count, 2), -1)
        info = {"count": self._count, "shape": self._shape, "color": self._color.copy(), "positions": positions}
        return np.zeros((64, 64, 3), np.uint8), info


class CanvasEnv(gymnasium.Env):
    """Draw as the authors do: a Pillow canvas a step, centres by rejection one at a time, one call an object."""

    SHAPES = ("triangle", "disk", "square", "bar")

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple:
        """Begin an episode."""
        super().reset(seed=seed)
        self.count = self.draw_number(0, 8)
        self.shape = self.SHAPES[self.draw_number(0, 3)]
        self.color = tuple(self.draw_number(30, 225) for _ in range(3))
        return self.draw(), {"count": self.count}

    def step(self, action: np.ndarray) -> tuple:
        """Add or remove an object and draw all of them."""
        before = self.count
        self.count = min(before + 1, 8) if action[0] >= 0 else max(before - 1, 0)
        return self.draw(), float(self.count == 4), before == 4, False, {"count": self.count}

    def draw_number(self, low: int, high: int) -> int:
        """Draw an integer in low..high from the generator that Gymnasium seeds."""
        return int(self.np_random.integers(low, high + 1))

    def draw(self) -> np.ndarray:
        """Draw the image of the current count."""
        image = Image.new("RGB", (64, 64))
        canvas = ImageDraw.Draw(image)
        centres: list[tuple[int, int]] = []
        while len(centres) < self.count:
            x, y = self.draw_number(3, 60), self.draw_number(3, 60)
            if all((x - a) ** 2 + (y - b) ** 2 >= 7**2 for a, b in centres):
                centres.append((x, y))
        for x, y in centres:
            box = (x - 3, y - 3, x + 3, y + 3)
            if self.shape == "disk":
                canvas.ellipse(box, fill=self.color)
            elif self.shape == "square":
                canvas.rectangle(box, fill=self.color)
            elif self.shape == "triangle":
                canvas.polygon([(x, y - 3), (x - 3, y + 3), (x + 3, y + 3)], fill=self.color)
            else:
                canvas.line((x - 3, y, x + 3, y), fill=self.color, width=3)
        return np.asarray(image).copy()


class FastCanvasEnv(CanvasEnv):
    """Draw from Python's own generator, which is faster for single numbers and which Gymnasium does not seed."""

    def draw_number(self, low: int, high: int) -> int:
        """Draw an integer in low..high."""
        return random.randint(low, high)


def single(env: gymnasium.Env, actions: list) -> Callable[[], int]:
    """Return a function that does a thousand steps with the resets they need, and returns the number of frames."""
    env.reset(seed=0)

    def work() -> int:
        frames = 1000
        for action in actions[:1000]:
            _, _, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                env.reset()
                frames += 1
        return frames

    return work


def vector(mode: AutoresetMode) -> Callable[[], int]:
    """Return a function that does twenty steps of the native vector environment."""
    env = gymnasium.make_vec("CountingEnv-v0", num_envs=BATCH, autoreset_mode=mode)
    env.reset(seed=0)
    actions = np.random.default_rng(0).uniform(-1, 1, (20, BATCH, 1)).astype(np.float32)
    for step in range(2 * PlacementStream.LARGEST_BLOCK):  # until placements come in their largest blocks
        env.step(actions[step % 20])

    def work() -> int:
        for action in actions:
            env.step(action)
        return 20 * BATCH

    return work


def memset() -> int:
    """Write twenty batches of black frames and nothing else."""
    for _ in range(20):
        np.empty((BATCH, 64, 64, 3), np.uint8).fill(0)
    return 20 * BATCH


def measure(works: dict[str, Callable[[], int]]) -> dict[str, list[float]]:
    """Measure the frames per second of each function in each round; the functions take turns."""
    rates: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(ROUNDS):
        for name, work in works.items():
            frames, started = 0, time.perf_counter()
            while time.perf_counter() - started < SECONDS:
                frames += work()
            rates[name].append(frames / (time.perf_counter() - started))
    return rates


def make_parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--steps", type=int, default=0, help="steps of a long run whose memory is measured (default: none)"
    )
    return parser


def main() -> None:
    """Measure, and print the table of rates and ratios."""
    steps = make_parser().parse_args().steps
    grid = ImgObsWrapper(RGBImgObsWrapper(gymnasium.make("MiniGrid-Empty-8x8-v0").unwrapped, tile_size=8))
    works = {
        "memset": memset,
        "black frame": single(BlackEnv(), ACTIONS),
        "authors' design": single(CanvasEnv(), ACTIONS),
        "authors' design, Python's random": single(FastCanvasEnv(), ACTIONS),
        "Minigrid 64x64 RGB": single(grid, [0, 1, 2, 0] * 250),
        "CountingEnv": single(counting_env.CountingEnv(), ACTIONS),
        "CountingEnv through make": single(gymnasium.make("CountingEnv-v0"), ACTIONS),
        f"vector of {BATCH}, next step": vector(AutoresetMode.NEXT_STEP),
        f"vector of {BATCH}, same step": vector(AutoresetMode.SAME_STEP),
    }
    for work in works.values():
        work()
    rates = measure(works)
    median = {name: statistics.median(values) for name, values in rates.items()}
    print("| | frames/s, median | smallest..largest | of black frame | x authors' design | x Minigrid | of memset |")
    print("|---|---|---|---|---|---|---|")
    for name, values in rates.items():
        black, authors, grid, limit = (median[name] / median[other] for other in PEERS)
        spread = f"{min(values):,.0f}..{max(values):,.0f}"
        print(f"| {name} | {median[name]:,.0f} | {spread} | {black:.2f} | {authors:.1f} | {grid:.1f} | {limit:.3f} |")
    if steps:
        work, done, marks = works["CountingEnv"], 0, []
        for share in (0.1, 1.0):
            while done < share * steps:
                done += work()
            marks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        print(
            f"largest resident size after {0.1 * steps:,.0f} and {steps:,} steps: {marks[0]:.1f} and {marks[1]:.1f} MiB"
        )


if __name__ == "__main__":
    main()
