"""Show enlarged images in a native window. pygame is imported when one is opened."""

from typing import Any

import numpy as np
from gymnasium.error import DependencyNotInstalled
from numpy.typing import NDArray

SIDE = 512
"""Smallest side of the window in pixels; images are enlarged by an integer factor."""


class Window:
    """Open a window with the first image that it shows.

    Args:
        caption: title of the window.
        frames_per_second: largest rate of images, for which `show` waits; 0 does not wait.

    Raises:
        DependencyNotInstalled: pygame is missing.
    """

    def __init__(self, caption: str, frames_per_second: int) -> None:
        try:
            import pygame
        except ImportError:
            raise DependencyNotInstalled(
                'render_mode="human" needs pygame: pip install "./packages/counting-env[human]" in the clone'
            ) from None
        self._pygame = pygame
        self._caption, self._frames_per_second = caption, frames_per_second
        self._screen: Any = None
        self._clock = pygame.time.Clock()

    def show(self, image: NDArray[np.uint8]) -> None:
        """Show an (H, W, 3) image, each pixel as a square."""
        factor = max(SIDE // image.shape[0], 1)
        enlarged = image.repeat(factor, 0).repeat(factor, 1)
        if self._screen is None:
            self._pygame.display.init()
            self._pygame.display.set_caption(self._caption)
            self._screen = self._pygame.display.set_mode(enlarged.shape[1::-1])
        self._screen.blit(self._pygame.surfarray.make_surface(enlarged.swapaxes(0, 1)), (0, 0))
        self._pygame.event.pump()
        self._pygame.display.flip()
        if self._frames_per_second:
            self._clock.tick(self._frames_per_second)

    def title(self, text: str) -> None:
        """Change the window's title."""
        self._pygame.display.set_caption(text)

    def close(self) -> None:
        """Close the window."""
        if self._screen is not None:
            self._pygame.display.quit()
            self._screen = None
