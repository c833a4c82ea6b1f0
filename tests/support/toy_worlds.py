"""Small Gymnasium environments, in whose observations a wrong successor can be seen."""

import gymnasium
import numpy as np
from gymnasium import spaces
from pjepa_agent.config.schema import CollectionConfig
from pjepa_agent.envs.registry import make_domain

LADDER = "support.toy_worlds:Ladder-v0"
SHAPE = (6, 4, 3)
GOAL = 3
ACTIONS = {
    "discrete": spaces.Discrete(3, start=-1),
    "box": spaces.Box(np.float32([-1, 0]), np.float32([1, 3])),
    "number": spaces.Box(-2, 2, (1,)),
    "positive": spaces.Box(0, 2, (1,)),
    "unbounded": spaces.Box(-np.inf, np.inf, (2,)),
    "several": spaces.MultiDiscrete([2, 3], start=[0, 5]),
    "bits": spaces.MultiBinary(3),
    "one": spaces.Discrete(1, start=4),
    "fixed": spaces.Box(1, 1, (2,)),
    "only one of several": spaces.MultiDiscrete([1, 1]),
    "words": spaces.Text(3),
    "too many": spaces.MultiDiscrete([2**16] * 5),
    "wide": spaces.Box(-1, 1, (50,)),
}


class Ladder(gymnasium.Env):
    """A place that moves up and down at random and by the action, until it is `GOAL` places up.

    The first pixel of an image is the episode, the second the step, the third the place: so each image tells which one
    has to follow. What goes wrong is chosen by name, at the third step of the second episode.
    """

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012 - as Gymnasium has it

    def __init__(self, observes="image", actions="discrete", fault="", render_mode=None):
        self.action_space, self.observes, self.fault = ACTIONS[actions], observes, fault
        self.render_mode, self.observation_space = render_mode, self._space()
        self.episode = self.steps = 0

    def _space(self):
        if self.observes == "dict":
            return spaces.Dict({"place": spaces.Discrete(GOAL + 1), "image": self._box(SHAPE)})
        if self.observes == "tuple":
            return spaces.Tuple([spaces.Discrete(GOAL + 1)])
        if self.observes == "number":
            return spaces.Discrete(GOAL + 1)
        if self.observes == "vector":
            return spaces.Box(-np.inf, np.inf, (3,), np.float64)
        if self.observes == "floats":
            return spaces.Box(0, 1, SHAPE, np.float32)
        return self._box(
            {"flat": SHAPE[:2], "channels first": (3, 8, 14), "four": (*SHAPE[:2], 4)}.get(self.observes, SHAPE)
        )

    @staticmethod
    def _box(shape):
        return spaces.Box(0, 255, shape, np.uint8)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.episode += 1
        self.name, self.place, self.steps = int(self.np_random.integers(256)), 0, 0
        return self._observation(), self._info()

    def step(self, action):
        self.action = np.asarray(action)
        assert self.action_space.contains(action)
        self.steps += 1
        self.place = min(max(self.place + int(self.np_random.integers(-1, 2)) + int(self.action.sum() > 0), 0), GOAL)
        now = self.episode == 2 and self.steps == 3
        if now and self.fault == "raises":
            raise ZeroDivisionError("of two\nlines")
        if now and self.fault == "exits":
            raise SystemExit(3)
        reward = float("nan") if now and self.fault == "reward" else self.place / 2
        return self._observation(now), reward, self.place == GOAL, False, self._info()

    def _observation(self, now=False):
        three = [self.name, self.steps, self.place]
        if now and self.fault == "shape":
            return np.zeros((5, 5, 3), np.uint8) if self.observes == "image" else np.zeros(7)
        if now and self.fault == "type":
            return self._image().astype(np.float32)
        if now and self.fault == "nan":
            return np.full(3, np.nan)
        many = {"dict": {"place": self.place, "image": self._image()}, "tuple": (self.place,), "number": self.place}
        if self.observes in many:
            return many[self.observes]
        if self.observes == "vector":
            return np.array(three, np.float64)
        if self.observes == "floats":
            return (self._image() / 255).astype(np.float32)
        if self.observes in ("flat", "channels first", "four"):
            return np.full(self.observation_space.shape, self.steps, np.uint8)
        return self._image()

    def _image(self):
        image = np.zeros(SHAPE, np.uint8)
        image[0, :3] = np.array([self.name, self.steps, self.place])[:, None]
        image[1:] = np.arange(60).reshape(5, 4, 3)
        return image

    def _info(self):
        info = {"place": self.place, "half": np.float32(self.place / 2), "high": self.place > 1, "text": "x"}
        info |= {"episode": 1, "nested": {"a": 1}, "array": np.zeros(2), "infinite": np.inf, "huge": 10**400}
        return info | ({"seldom": 1} if self.steps % 2 else {})

    def render(self):
        if self.fault == "display":
            raise RuntimeError("no\ndisplay")
        if self.fault == "float picture":
            return self._image() / 255
        return self._image() if self.render_mode == "rgb_array" or self.fault == "renders" else None


class Humans(Ladder):
    metadata = {"render_modes": ["human"]}  # noqa: RUF012


gymnasium.register("Ladder-v0", Ladder, max_episode_steps=9)
gymnasium.register("toys/Ladder-v1", Ladder, max_episode_steps=9)


def make(observes="image", actions="discrete", fault=""):
    """Make an environment by a function that takes no render mode."""
    return Ladder(observes, actions, fault)


def make_humans(observes="vector"):
    return Humans(observes)


def make_long(observes="image", render_mode=None):
    return Ladder(observes, render_mode=render_mode)


_MADE = []


def make_different():
    """Make an environment with one action more each time."""
    _MADE.append(Ladder("vector"))
    _MADE[-1].action_space = spaces.Discrete(1 + len(_MADE))
    return _MADE[-1]


def make_autoreset():
    """Make an environment that resets itself at the step after the end of an episode."""
    return gymnasium.wrappers.Autoreset(gymnasium.make("Ladder-v0"))


def make_huge():
    environment = Ladder("vector")
    environment.observation_space = spaces.Box(-1, 1, (2**16 + 1,))
    return environment


_ONE = Ladder()


def make_the_same():
    return _ONE


def make_nothing():
    return gymnasium.spaces.Discrete(3)


def up(observations):
    """Choose the largest action after every observation."""
    return np.ones(len(observations), np.int64)


def down_if_high(observations):
    """Choose by the place that an image shows."""
    return np.where(observations[:, 0, 2, 0] > 1, -1, 1)


def too_few(observations):
    return np.ones(len(observations) + 1, np.int64)


def outside(observations):
    return np.full(len(observations), 7)


def failing(observations):
    raise KeyError("no\nsuch")


def config(environment, **fields):
    """Make the configuration of an environment that is collected 300 transitions of."""
    return CollectionConfig(
        environment=environment, **{"max_episode_steps": 0, "action_repeat": 1, "transitions": 300} | fields
    )


def domain(environment=LADDER, **fields):
    """Make the domain of an environment, by default the registered ladder with 300 transitions."""
    return make_domain(config(environment, **fields))
