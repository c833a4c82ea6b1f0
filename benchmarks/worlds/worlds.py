"""The worlds: environment, writer, size, and the options that a reader of the README would give."""

import shlex
from collections.abc import Callable
from typing import NamedTuple

from benchmarks.worlds.brute_force import Question
from benchmarks.worlds.environments import Crafter, atari, frozen_lake_8x8, grid, gym
from benchmarks.worlds.writers import Writer, lerobot, minari, npz, stable_worldmodel, torchrl


class World(NamedTuple):
    """Describe one row of the table.

    Attributes:
        title: of the environment, and how it is observed.
        writer: returns how its file is written and read; called only where it is made.
        episodes: to record.
        options: of `bisim-check`.
        part: episodes of a second, smaller file that the brute force is compared on; None, the same file.
        classes: known from elsewhere, or None.
        lossy: whether the writer codes images as JPEG, so that they are told apart by occurrence.
    """

    title: str
    writer: Callable[[], Writer]
    episodes: int
    options: str
    part: int | None = None
    classes: int | None = None
    lossy: bool = False

    def question(self) -> Question:
        """Return what the options ask, for the brute force."""
        words = shlex.split(self.options)
        given = {name: value for name, value in zip(words, [*words[1:], ""], strict=True) if name.startswith("--")}
        bins = given.get("--actions")
        return Question(
            given["--auxiliary"],
            given.get("--terminal") == "absorb",
            int(bins.removeprefix("bins:")) if bins else None,
            "occurrence" if self.lossy else given.get("--identity", "auto"),
            "--fold" in given,
        )


ABSORBING = "--auxiliary terminated --terminal absorb"

WORLDS = {
    "frozenlake-4x4": World(
        "FrozenLake 4x4, not slippery",
        lambda: minari(gym("FrozenLake-v1", is_slippery=False)),
        300,
        "--auxiliary reward --terminal absorb",
        classes=13,
    ),
    "frozenlake-8x8": World(
        "FrozenLake 8x8, not slippery, any start",
        lambda: torchrl(frozen_lake_8x8),
        300,
        "--auxiliary reward --terminal absorb",
        classes=55,
    ),
    "cliffwalking": World(
        "CliffWalking",
        lambda: stable_worldmodel("CliffWalking-v1", "lance", 500, add_pixels=False),
        60,
        "--auxiliary reward:actions",
        classes=37,
    ),
    "taxi": World("Taxi", lambda: npz(gym("Taxi-v4")), 1_535, "--auxiliary reward:actions", classes=400),
    "blackjack": World("Blackjack, three numbers", lambda: minari(gym("Blackjack-v1")), 2_000, "--auxiliary reward"),
    "minigrid-empty-5x5": World(
        "MiniGrid Empty-5x5, image",
        lambda: minari(grid("MiniGrid-Empty-5x5-v0")),
        100,
        ABSORBING,
        classes=33,
    ),
    "minigrid-empty-8x8": World(
        "MiniGrid Empty-8x8, image",
        lambda: minari(grid("MiniGrid-Empty-8x8-v0")),
        150,
        ABSORBING,
        classes=141,
    ),
    "minigrid-doorkey-5x5": World(
        "MiniGrid DoorKey-5x5, image",
        lambda: stable_worldmodel("MiniGrid-DoorKey-5x5-v0", "hdf5", 250, image_shape=(40, 40)),
        40,
        ABSORBING,
    ),
    "minigrid-fourrooms": World(
        "MiniGrid FourRooms, image", lambda: torchrl(grid("MiniGrid-FourRooms-v0", tile=4)), 100, ABSORBING, part=40
    ),
    "cartpole": World("CartPole, four numbers", lambda: torchrl(gym("CartPole-v1")), 400, "--auxiliary terminated"),
    "pendulum": World(
        "Pendulum, three numbers",
        lambda: lerobot(gym("Pendulum-v1")),
        50,
        "--auxiliary reward:bins:5 --actions bins:3",
        part=20,
    ),
    "pong": World(
        "Pong, single frames",
        lambda: torchrl(atari("ALE/Pong-v5", 1, 20_000)),
        5,
        "--auxiliary reward --identity content --fold",
    ),
    "pong-stack": World(
        "Pong, stacks of four frames",
        lambda: npz(atari("ALE/Pong-v5", 4, 20_000)),
        5,
        "--auxiliary reward --identity content --fold",
    ),
    "breakout": World(
        "Breakout, stacks of four frames",
        lambda: minari(atari("ALE/Breakout-v5", 4, 20_000)),
        20,
        "--auxiliary reward",
    ),
    "freeway": World(
        "Freeway, stacks of four frames", lambda: minari(atari("ALE/Freeway-v5", 4, 4000)), 5, "--auxiliary reward"
    ),
    "crafter": World("Crafter, image", lambda: minari(lambda: Crafter(1000)), 20, "--auxiliary reward"),
    "tworoom": World(
        "TwoRoom, JPEG-coded image",
        lambda: stable_worldmodel("swm/TwoRoom-v1", "lance", 50, ("state",), image_shape=(64, 64)),
        20,
        "--auxiliary state:bins:4 --actions bins:3",
        lossy=True,
    ),
    "pusht": World(
        "PushT, image",
        lambda: stable_worldmodel("swm/PushT-v1", "hdf5", 100, image_shape=(64, 64)),
        20,
        "--auxiliary reward:bins:5 --actions bins:3 --identity occurrence",
    ),
}
