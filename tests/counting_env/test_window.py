import subprocess
import sys

import gymnasium
import numpy as np
import pytest

pygame = pytest.importorskip("pygame", reason="needs the extra counting-env[human]")

from counting_env.env import CountingEnv  # noqa: E402
from counting_env.play import Game  # noqa: E402
from counting_env.window import Window  # noqa: E402


@pytest.fixture(autouse=True)
def _no_screen(monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    yield
    pygame.quit()


def shown(window):
    return pygame.surfarray.array3d(window._screen).swapaxes(0, 1)


def test_human_mode_shows_every_observation_enlarged_and_draws_nothing_anew():
    env, plain = (gymnasium.make("CountingEnv-v0", render_mode=mode) for mode in ("human", None))
    env.unwrapped._window._frames_per_second = 0
    for e in (env, plain):
        image, _ = e.reset(seed=0, options={"count": 5})
    for adds in (1.0, -1.0):
        assert (shown(env.unwrapped._window) == image.repeat(8, 0).repeat(8, 1)).all()
        assert env.render() is None
        env.step(np.array([adds], np.float32))
        image = plain.step(np.array([adds], np.float32))[0]
    assert (shown(env.unwrapped._window) == image.repeat(8, 0).repeat(8, 1)).all()
    env.close()
    assert env.unwrapped._window._screen is None


def test_the_arrow_keys_add_remove_reset_and_quit():
    game = Game(CountingEnv(target=8), seed=0)
    game.env.reset(seed=0, options={"count": 3})
    seen = []
    game._show = lambda image, info: seen.append(info["count"])
    keys = [pygame.K_UP, pygame.K_RIGHT, pygame.K_DOWN, pygame.K_LEFT, pygame.K_r, pygame.K_x, pygame.K_q]
    for key in keys:
        pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=key))
    game.run()
    assert seen[:4] == [4, 5, 4, 3]
    assert len(seen) == 5
    assert game.window._screen is None


def test_the_title_tells_count_target_and_return():
    game = Game(CountingEnv(target=4), seed=0)
    game.env.reset(seed=0, options={"count": 3})
    game.act(1)
    assert pygame.display.get_caption()[0] == "4 objects, target 4, return 1"
    game.act(1)
    assert pygame.display.get_caption()[0] == "5 objects, target 4, return 1: over, any arrow goes on"
    game.act(1)
    assert "over" not in pygame.display.get_caption()[0]
    game.window.close()


def test_a_missing_pygame_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pygame", None)
    with pytest.raises(gymnasium.error.DependencyNotInstalled, match=r"counting-env\[human\]"):
        Window("", 0)


def test_play_refuses_a_wrong_target_in_one_line():
    done = subprocess.run([sys.executable, "-m", "counting_env.play", "--target", "9"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "target=9: must be an integer in 0..8" in done.stderr
    assert "Traceback" not in done.stderr
