"""Play with the arrow keys: ``python -m counting_env.play``.

Up or right adds an object, down or left removes one, R resets, Q or Escape quits.
"""

import argparse
from typing import Any

from gymnasium.error import DependencyNotInstalled

from counting_env import rules
from counting_env.env import CountingEnv
from counting_env.window import Window


class Game:
    """Show an environment in a window and act by keys.

    Args:
        env: the environment.
        seed: of the first episode.
    """

    def __init__(self, env: CountingEnv, seed: int | None = None) -> None:
        self.env = env
        self.window = Window("CountingEnv-v0", 0)
        self.total = 0.0
        self.reset(seed)

    def reset(self, seed: int | None = None) -> None:
        """Begin an episode."""
        image, info = self.env.reset(seed=seed)
        self.total, self.ended = 0.0, False
        self._show(image, info)

    def act(self, code: int) -> None:
        """Remove (0) or add (1) an object; after the end of an episode, reset."""
        if self.ended:
            self.reset()
            return
        image, reward, self.ended, _, info = self.env.step(self.env.action(code))
        self.total += float(reward)
        self._show(image, info)

    def _show(self, image: Any, info: dict[str, Any]) -> None:
        self.window.show(image)
        end = ": over, any arrow goes on" if self.ended else ""
        self.window.title(f"{info['count']} objects, target {self.env.arguments.target}, return {self.total:g}{end}")

    def run(self) -> None:
        """Act by keys until the window is closed or Q or Escape is pressed."""
        import pygame

        acts = {pygame.K_UP: rules.ADD, pygame.K_RIGHT: rules.ADD, pygame.K_DOWN: rules.REMOVE,
                pygame.K_LEFT: rules.REMOVE}  # fmt: skip
        while True:
            event = pygame.event.wait()
            key = event.key if event.type == pygame.KEYDOWN else None
            if event.type == pygame.QUIT or key in (pygame.K_q, pygame.K_ESCAPE):
                self.window.close()
                return
            if key in acts:
                self.act(acts[key])
            elif key == pygame.K_r:
                self.reset()


def main(argv: list[str] | None = None) -> int:
    """Play until the window is closed; exit with status 2 if no window can be opened."""
    parser = argparse.ArgumentParser(prog="python -m counting_env.play", description=__doc__)
    parser.add_argument("--target", type=int, default=4, help="the rewarded count (default: 4)")
    parser.add_argument("--seed", type=int, default=None)
    options = parser.parse_args(argv)
    try:
        Game(CountingEnv(target=options.target), options.seed).run()
    except (ValueError, DependencyNotInstalled) as error:
        parser.exit(2, f"{parser.prog}: error: {error}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
