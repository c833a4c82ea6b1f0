"""Let models act while they train, over seeds, and print the tables of docs/planning.md, "Acting while learning".

Command: ``uv run --group worlds python -m benchmarks.studies.acting``. What has no record in ``benchmarks/records`` is
trained first; an interrupted run is resumed. ``--only NAME`` takes some of the variants, ``--worlds counting`` one of
the worlds, and ``--list`` prints the options that each variant is trained with. The random policy and PPO of
Stable-Baselines3, which are no runs of `pjepa-train`, act in the same environments.
"""

import argparse
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from matplotlib.figure import Figure
from pjepa_agent.cli.train import configure
from pjepa_agent.cli.train import make_parser as train_parser
from pjepa_agent.envs.acting import Acting
from pjepa_agent.envs.lockstep import RECENT
from pjepa_agent.envs.registry import make_domain
from pjepa_agent.figures.colors import DISTINCT
from pjepa_agent.figures.run import save_figure, unstyled
from pjepa_agent.runs.metrics import Rows

from benchmarks.studies.records import UPDATE, Key, Records, Table
from benchmarks.studies.study import (
    A_THOUSAND_UPDATES,
    ONE_FROZEN_STEP,
    Study,
    add_lanes,
    list_variants,
    settings,
    study_parser,
)
from benchmarks.tables import markdown, spread

STEPS = 20_000
"""Environment steps of whoever acts."""

SHORTER = {("counting", "pjepa"): 10_000}
"""Environment steps by world and objective where fewer are enough."""

EVERY = 1_000
"""Environment steps between two rows of a curve."""

BAR = 0.99
"""Share of the episodes that is to be solved."""

ENVIRONMENTS = 16
"""Environments side by side."""

STEPS_COLUMN, SUCCESS, RETURN = "collection/environment_steps", "collection/success", "collection/return"
EPISODES = "collection/episodes"
CURVES = (STEPS_COLUMN, EPISODES, RETURN, SUCCESS)

STEPS_PER_UPDATE = 10

SHARED = settings(
    "collection.policy=planner", f"collection.steps_per_update={STEPS_PER_UPDATE}",
    f"evaluation.every={EVERY // STEPS_PER_UPDATE}", "evaluation.probe_per_count=0", "network.width=8",
    "network.latent_dim=64", "network.hidden_dim=128", "optimization.batch_size=128",
)  # fmt: skip
"""Options of all runs: networks so small that to plan 1,200 times takes minutes."""

WORLDS: Mapping[str, list[str]] = {
    "counting": settings(
        "collection.max_episode_steps=16", "collection.action_repeat=1", "evaluation.reference_per_count=16",
        "evaluation.scored_per_count=16", "evaluation.transitions=200", "evaluation.batch_norm_samples=256",
    ),
    "minigrid": [
        "--env", "minigrid:MiniGrid-Empty-5x5-v0", "--auxiliary", "terminated",
        *settings("collection.size=32", "evaluation.transitions=500"),
    ],
}  # fmt: skip
"""Options by world."""

LEARNERS: Mapping[str, list[str]] = {
    "pjepa": [*settings('collection.planning={"horizon": 5, "samples": 24, "elites": 6}'), *ONE_FROZEN_STEP],
    "tdmpc2": ["--objective", "tdmpc2", *settings('collection.planning={"samples": 32, "elites": 8, "proposals": 4}')],
}
"""Options by the name of the objective. P-JEPA plans with iCEM, TD-MPC2 with MPPI and a policy prior if it has one."""

TITLES = {
    "pjepa": "P-JEPA, iCEM",
    "tdmpc2": "TD-MPC2's objective, MPPI",
    "ppo": "PPO (Stable-Baselines3)",
    "random": "random policy",
}
"""Titles of the rows."""

PANELS = {"counting": "counting world", "minigrid": "MiniGrid-Empty-5x5"}
"""Titles of the worlds."""

SHOWN = (2_000, 4_000, 6_000, 10_000, 20_000)
"""Environment steps whose success is shown."""


class Watched(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Add the outcome of every episode to those of all environments.

    Args:
        env: the environment.
        outcomes: return and success of the latest episodes.
        target: count at which an episode of the counting world is solved before it begins; None elsewhere.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], outcomes: "deque[tuple[float, bool]]", target: int | None) -> None:
        super().__init__(env)
        self._outcomes, self._target = outcomes, target
        self._total, self._success, self._trivial = 0.0, False, False

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._total, self._success = 0.0, False
        self._trivial = self._target is not None and info["count"] == self._target
        return observation, info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take a step."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._total, self._success = self._total + float(reward), self._success or float(reward) > 0
        if (terminated or truncated) and not self._trivial:
            self._outcomes.append((self._total, self._success))
        return observation, float(reward), terminated, truncated, info


class Curve:
    """Collect the rows of a curve while somebody acts."""

    def __init__(self, world: str) -> None:
        config = configure(train_parser().parse_args([*SHARED, *WORLDS[world]]))
        self.acting = Acting(config.collection, make_domain(config.collection).spec)
        self._target = config.collection.target if config.counting else None
        self.outcomes: deque[tuple[float, bool]] = deque(maxlen=RECENT)
        self.rows: Rows = []
        self._due = EVERY

    def make(self) -> gymnasium.Env[Any, Any]:
        """Make an environment whose episodes count."""
        return Watched(self.acting.make(), self.outcomes, self._target)

    def look(self, steps: int) -> None:
        """Add a row after so many environment steps, if one is due and as many episodes as it is of have ended."""
        if steps < self._due:
            return
        self._due += EVERY
        if len(self.outcomes) == RECENT:
            total, success = np.mean(np.array(self.outcomes, float), 0)
            self.rows.append({UPDATE: steps, STEPS_COLUMN: steps, RETURN: total, SUCCESS: success})


def act_at_random(world: str, seed: int) -> Rows:
    """Act at random, and return the curve."""
    curve = Curve(world)
    environments = [curve.make() for _ in range(ENVIRONMENTS)]
    for number, environment in enumerate(environments):
        environment.reset(seed=seed * ENVIRONMENTS + number)
        environment.action_space.seed(seed * ENVIRONMENTS + number)
    for steps in range(ENVIRONMENTS, STEPS + 1, ENVIRONMENTS):
        for environment in environments:
            _, _, terminated, truncated, _ = environment.step(environment.action_space.sample())
            if terminated or truncated:
                environment.reset()
        curve.look(steps)
    return curve.rows


def enlarged(environment: gymnasium.Env[Any, Any]) -> gymnasium.Env[Any, Any]:
    """Show small images twice as large: the convolutions of PPO's network need at least 36 pixels."""
    seen = environment.observation_space
    assert isinstance(seen, gymnasium.spaces.Box)
    height, width, channels = seen.shape
    if min(height, width) >= 36:
        return environment
    large = gymnasium.spaces.Box(0, 255, (2 * height, 2 * width, channels), np.uint8)
    return gymnasium.wrappers.TransformObservation(environment, lambda image: image.repeat(2, 0).repeat(2, 1), large)


def train_ppo(world: str, seed: int) -> Rows:
    """Train PPO as it comes, but for rollouts of 64 steps that fit the budget, and return the curve."""
    try:
        import stable_baselines3
        from stable_baselines3.common.callbacks import BaseCallback
        from stable_baselines3.common.vec_env import DummyVecEnv
    except ImportError as error:
        raise SystemExit("stable-baselines3 is missing; run with: uv run --group worlds python -m ...") from error
    curve = Curve(world)

    class Look(BaseCallback):  # type: ignore[misc]
        def _on_step(self) -> bool:
            curve.look(self.num_timesteps)
            return True

    vector = DummyVecEnv([lambda: enlarged(curve.make())] * ENVIRONMENTS)
    policy = stable_baselines3.PPO("CnnPolicy", vector, n_steps=64, batch_size=128, seed=seed, device="cpu")
    policy.learn(STEPS, callback=Look())
    return curve.rows


OTHERS: Mapping[str, Callable[[str, int], Rows]] = {"random": act_at_random, "ppo": train_ppo}
"""What acts without `pjepa-train`, by name."""


def variants(worlds: Sequence[str], only: Sequence[str]) -> dict[str, list[str]]:
    """Return options of `pjepa-train` by variant, ``WORLD-OBJECTIVE``."""
    return {
        f"{world}-{name}": [
            *(A_THOUSAND_UPDATES if (world, name) == ("counting", "pjepa") else []),
            *(*SHARED, *WORLDS[world], *LEARNERS[name], "--updates", str(updates_of(world, name))),
        ]
        for world in worlds
        for name in LEARNERS
        if name in only
    }


def updates_of(world: str, name: str) -> int:
    """Return the updates of a run."""
    return SHORTER.get((world, name), STEPS) // STEPS_PER_UPDATE


def make_parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    parser = study_parser(__doc__, "acting", seeds="0-2")
    add_lanes(parser)
    parser.add_argument("--worlds", nargs="+", choices=list(WORLDS), default=list(WORLDS), help="only these worlds")
    parser.add_argument("--only", nargs="+", choices=list(TITLES), default=list(TITLES), help="only these rows")
    parser.add_argument("--recorded", action="store_true", help="train nothing, and print what is recorded")
    parser.add_argument("--list", action="store_true", help="print each variant with its options, and exit")
    parser.add_argument("--out", type=Path, help="also draw the returns, into this picture")
    return parser


def main() -> None:
    """Train what is missing, and print the tables."""
    options = make_parser().parse_args()
    trained = variants(options.worlds, options.only)
    if options.list:
        print(list_variants(trained))
        return
    records = Records(options.records, "acting", CURVES)
    if not options.recorded:
        for name, chosen in trained.items():
            Study(options.runs, {name: chosen}, options.seeds, records).complete(options.lanes)
        complete_others(records.table, options.worlds, options.only, options.seeds)
    curves = curves_of(records)
    seconds = {key: run["report"]["seconds"] for key, run in records.runs().items()}
    print("\n\n".join(f"{world}:\n\n{format_table(curves, seconds, world, options.seeds)}" for world in options.worlds))
    if options.out:
        draw(curves, options.worlds, options.seeds, options.out)


def curves_of(records: Records) -> dict[Key, Rows]:
    """Read the curves of whoever acts, which are in one table: recorded runs, and those without `pjepa-train`."""
    others = {key: rows for key, rows in records.table.read().items() if key[0].partition("-")[2] in OTHERS}
    return records.metrics() | others


def complete_others(table: Table, worlds: Sequence[str], only: Sequence[str], seeds: Sequence[int]) -> None:
    """Measure the random policy and PPO where there is no record."""
    known = table.read()
    for world in worlds:
        for name, measure in OTHERS.items():
            for seed in seeds:
                key = f"{world}-{name}", seed
                if name in only and key not in known:
                    table.put(key, measure(world, seed))


def format_table(curves: Mapping[Key, Rows], seconds: Mapping[Key, float], world: str, seeds: Sequence[int]) -> str:
    """Format the success of the latest 100 episodes over environment steps: a row for whoever acts."""
    shown = [f"{steps:,} steps" for steps in SHOWN]
    rows = []
    for name, title in TITLES.items():
        keys = [(f"{world}-{name}", seed) for seed in seeds if (f"{world}-{name}", seed) in curves]
        if keys:
            found = [full_windows(curves[key]) for key in keys]
            minutes = [seconds[key] / 60 for key in keys if key in seconds]
            rows.append([
                title, str(len(keys)), *(spread((success_at(each, steps) for each in found), ".2f") for steps in SHOWN),
                ", ".join(first_solved(each) for each in found),
                spread((each[-1][RETURN] for each in found if each), ".2f"), spread(minutes, ".0f"),
            ])  # fmt: skip
    return markdown(["acts", "seeds", *shown, f"{BAR} solved after", "return at the end", "minutes"], rows)


def full_windows(rows: Rows) -> Rows:
    """Leave out rows of a run that are of fewer than `RECENT` episodes: those that end first are the solved ones."""
    return [row for row in rows if row.get(EPISODES, RECENT) >= RECENT]


def success_at(rows: Rows, steps: int) -> float | None:
    """Return the success at the last row up to so many environment steps; None where the curve ends before."""
    known = [row for row in rows if row[STEPS_COLUMN] < steps + ENVIRONMENTS]
    return known[-1][SUCCESS] if known and known[-1][STEPS_COLUMN] > steps - EVERY else None


def first_solved(rows: Rows) -> str:
    """Return the environment steps of the first row at which `BAR` of the latest episodes were solved."""
    reached = [row[STEPS_COLUMN] for row in rows if row[SUCCESS] >= BAR]
    return f"{reached[0]:,.0f}" if reached else "never"


@unstyled
def draw(curves: Mapping[Key, Rows], worlds: Sequence[str], seeds: Sequence[int], path: Path) -> None:
    """Write a figure: the return of the latest episodes over environment steps, a line a seed, a panel a world.

    Raises:
        OSError: the file cannot be written.
    """
    figure = Figure(figsize=(4.2 * len(worlds), 3.2), layout="constrained")
    panels = figure.subplots(1, len(worlds), squeeze=False, sharey=True)[0]
    for panel, world in zip(panels, worlds, strict=True):
        for color, (name, title) in zip(DISTINCT, TITLES.items(), strict=False):
            known = [curves[f"{world}-{name}", seed] for seed in seeds if (f"{world}-{name}", seed) in curves]
            for number, rows in enumerate(map(full_windows, known)):
                steps, returns = [row[STEPS_COLUMN] for row in rows], [row[RETURN] for row in rows]
                panel.plot(steps, returns, color=color, linewidth=1.2, label=None if number else title)
        panel.set_title(PANELS[world], fontsize=10)
        panel.set(xlabel="environment steps", ylim=(0, 1.02), xlim=(0, STEPS), xticks=range(0, STEPS + 1, STEPS // 4))
        panel.xaxis.set_major_formatter("{x:,.0f}")
    panels[0].set_ylabel("return of the latest 100 episodes")
    figure.legend(
        *panels[0].get_legend_handles_labels(), frameon=False, fontsize=8, loc="outside lower center", ncols=4
    )
    save_figure(figure, path, dpi=120)


if __name__ == "__main__":
    main()
