"""The counting world as a finite deterministic MDP, to which the paper's Theorem 1 applies exactly.

In `CountingEnv-v0` positions are drawn anew at every step, so the next image is no function of the present one. Here an
observation is a function of (count, shape, colour, layout), count 0 is a single observation, and the next layout is a
fixed function of observation and action. So the dynamics f is a function on observations, and the largest bisimulation
over f and the reward has the nine classes of Corollary 1.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from counting_env import drawing, rules
from counting_env.arguments import Arguments

_SEED = 20_250_912  # of the layouts and the dynamics: a world depends on its arguments, not on a run's seed


class FiniteWorld:
    """Enumerate the observations and transitions of a finite counting world.

    Observation 0 is the black image; the others are every (count, shape, colour, layout) with a count of at least 1.

    Args:
        arguments: with `layouts` set.

    Attributes:
        count: (M,) objects in each of the M observations.
        shape: (M,) index of their shape in `arguments.shapes`.
        color: (M,) index of their colour in `arguments.colors`.
        layout: (M,) index of their layout.
        placements: (L, max_count, 2) top left pixels of each layout's objects; a count k shows the first k.
        successor: (M, 2) the dynamics f: the observations that removing (0) and adding (1) lead to.
    """

    def __init__(self, arguments: Arguments) -> None:
        assert arguments.layouts is not None
        assert arguments.colors is not None
        self.arguments = arguments
        self._sizes: tuple[int, int, int, int] = (
            arguments.max_count,
            len(arguments.shapes),
            len(arguments.colors),
            arguments.layouts,
        )
        rng = np.random.default_rng([_SEED, *self._sizes])
        self.placements = _distinct_placements(rng, arguments)
        self._placed = drawing.Placement.of(self.placements, arguments.image_size)
        count, shape, color, layout = (axis.ravel() for axis in np.indices(self._sizes))
        self.count = np.concatenate([[0], count + 1])
        self.shape = np.concatenate([[0], shape])
        self.color = np.concatenate([[0], color])
        self.layout = np.concatenate([[0], layout])
        codes = np.array([rules.REMOVE, rules.ADD])
        next_count = rules.next_count(self.count[:, None], codes, arguments.max_count)
        next_layout = rng.integers(arguments.layouts, size=(len(self), 2))
        self.successor = self.index(next_count, self.shape[:, None], self.color[:, None], next_layout)
        names = np.array([drawing.SHAPES.index(name) for name in arguments.shapes])
        self._rows = drawing.sprites(names[self.shape], np.array(arguments.colors)[self.color])

    def __len__(self) -> int:
        return len(self.count)

    def index(self, count: Any, shape: Any, color: Any, layout: Any) -> NDArray[np.int64]:
        """Return the observation of a (count, shape, colour, layout), numbers or arrays; 0 where the count is 0."""
        _, shapes, colors, layouts = self._sizes
        within = ((np.maximum(count, 1) - 1) * shapes + shape) * colors * layouts + color * layouts + layout
        return np.where(np.asarray(count) == 0, 0, within + 1)

    def placement(self, observation: int) -> drawing.Placement:
        """Return the placement of an observation's layout, for all max_count objects."""
        layout = self.layout[observation]
        return drawing.Placement(self._placed.centres[layout], self._placed.first[layout])

    def sprites(self, observations: Any) -> NDArray[np.void]:
        """Return the rows of pixels of one observation's objects (7,), or of several observations' (n, 7)."""
        return self._rows[observations]

    def start(
        self, rng: np.random.Generator, count: int, shape: str, color: NDArray[np.uint8], layout: int | None
    ) -> int:
        """Return the first observation of an episode; a layout of None is drawn."""
        drawn = int(rng.integers(self._sizes[-1]))
        assert self.arguments.colors is not None
        of_color = [bool((color == each).all()) for each in self.arguments.colors].index(True)
        of_shape = list(self.arguments.shapes).index(shape)
        return int(self.index(count, of_shape, of_color, drawn if layout is None else layout))

    def images(self) -> NDArray[np.uint8]:
        """Draw every observation once: (M, size, size, 3) uint8."""
        images = drawing.black(self.arguments.image_size, len(self))
        for i, image in enumerate(images):
            visible = self.placements[self.layout[i], : self.count[i]]
            drawing.blit(image, drawing.first_pixels(visible, self.arguments.image_size), self.sprites(i))
        return images

    def transitions(self) -> dict[str, NDArray[Any]]:
        """List every observation under every action, as the arrays of ``transitions.npz``.

        >>> arrays = CountingEnv(layouts=3).world.transitions()                       # doctest: +SKIP
        >>> numpy.savez_compressed("finite.npz", **arrays)                            # doctest: +SKIP

        Returns:
            ``source``, ``action``, ``successor``, ``auxiliary`` (the reward of the source), ``reward`` (of the
            successor), each (2 M,); ``observation`` (M, size, size, 3); labels ``count``, ``shape``, ``color`` and
            ``layout`` (M,).
        """
        source = np.repeat(np.arange(len(self)), 2)
        action = np.tile([rules.REMOVE, rules.ADD], len(self))
        successor = self.successor[source, action]
        return {
            "source": source,
            "action": action,
            "successor": successor,
            "auxiliary": rules.reward_of(self.count[source], self.arguments),
            "reward": rules.reward_of(self.count[successor], self.arguments),
            "observation": self.images(),
            "count": self.count,
            "shape": self.shape,
            "color": self.color,
            "layout": self.layout,
        }


def _distinct_placements(rng: np.random.Generator, arguments: Arguments) -> NDArray[np.int16]:
    """Sample placements that show different positions at every count, so that images identify layouts."""
    seen: list[set[frozenset[tuple[int, int]]]] = [set() for _ in range(arguments.max_count)]
    chosen: list[NDArray[np.int16]] = []
    assert arguments.layouts is not None
    while len(chosen) < arguments.layouts:
        for placement in drawing.sample_placements(
            rng, arguments.layouts, arguments.max_count, arguments.image_size, arguments.gap
        ):
            corners = [(int(row), int(column)) for row, column in placement]
            shown = [frozenset(corners[: count + 1]) for count in range(arguments.max_count)]
            if any(positions in known for positions, known in zip(shown, seen, strict=True)):
                continue
            for positions, known in zip(shown, seen, strict=True):
                known.add(positions)
            chosen.append(placement)
            if len(chosen) == arguments.layouts:
                break
    return np.stack(chosen)
