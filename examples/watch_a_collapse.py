"""Watch somebody else's JEPA lose one distinction while RankMe looks perfect, and name the pair that it merged.

    uv run python examples/watch_a_collapse.py

The world is a ring of eight places and a lamp. Actions step left, step right, and switch the lamp. The place fills a
column of the image, the lamp is one dim pixel. The reward is 1 at place 0 while the lamp is lit, so the lamp matters.
The model is plain PyTorch, nothing of it is ours: an encoder, a predictor, and the variance and covariance terms of
VICReg against a collapse. It is trained twice: alone, and with the reward predicted from the embedding.
"""

import sys

import numpy as np
import torch
from bisim_theory import TheoremMonitor, TransitionDataset
from bisim_theory.integrations.loop import TheoremCallback
from torch import nn
from torch.nn.functional import mse_loss, one_hot, relu

PLACES, ACTIONS, WIDTH, STEPS = 8, 3, 4, 1_000


def list_transitions() -> TransitionDataset:
    """List what anybody records, once each: images, actions, rewards, and labels to name things by."""
    place, lamp = np.divmod(np.arange(2 * PLACES), 2)
    images = np.zeros((2 * PLACES, 6, PLACES, 1), np.uint8)
    images[np.arange(2 * PLACES), :5, place] = 255
    images[:, 5, 0, 0] = 60 * lamp
    source, action = np.divmod(np.arange(2 * PLACES * ACTIONS), ACTIONS)
    reached = (place[source] + (action == 1) - (action == 0)) % PLACES
    successor = 2 * reached + (lamp[source] ^ (action == 2))
    return TransitionDataset(
        source=source,
        action=action,
        successor=successor,
        observation=images,
        reward=((place == 0) & (lamp == 1))[successor].astype(float),
        labels={"place": place, "lamp": lamp},
    )


class JEPA(nn.Module):
    """Somebody's joint-embedding predictive architecture."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(6 * PLACES, 64), nn.ReLU(), nn.Linear(64, WIDTH))
        self.predictor = nn.Sequential(nn.Linear(WIDTH + ACTIONS, 64), nn.ReLU(), nn.Linear(64, WIDTH))
        self.reward = nn.Sequential(nn.Linear(WIDTH, 64), nn.ReLU(), nn.Linear(64, 1))

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """Map images (B, H, W, 1) to embeddings (B, d)."""
        return self.encoder(images.float() / 255)

    def predict(self, z: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        """Map embeddings (B, d) and actions (B, 1) to the next embeddings (B, d)."""
        return self.predictor(torch.cat([z, one_hot(action[:, 0], ACTIONS)], 1))


def vicreg(z: torch.Tensor) -> torch.Tensor:
    """Return the variance and covariance terms of VICReg (Bardes et al., 2022)."""
    centred = z - z.mean(0)
    covariance = centred.T @ centred / (len(z) - 1)
    spread = covariance.diagonal().add(1e-4).sqrt()
    return relu(1 - spread).mean() + (covariance - covariance.diagonal().diag()).square().sum() / z.shape[1]


def train(model: JEPA, data: TransitionDataset, watch: TheoremCallback, with_reward: bool, steps: int) -> None:
    """Train a model on all transitions, as in any loop; the last line of the loop is all that watching takes."""
    images, reward = torch.as_tensor(data.observation), torch.as_tensor(data.reward).float()
    source, action, successor = (torch.as_tensor(each) for each in (data.source, data.action, data.successor))
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    watch(0)
    for step in range(1, steps + 1):
        z = model.encode(images)
        loss = mse_loss(model.predict(z[source], action[:, None]), z[successor]) + vicreg(z)
        if with_reward:
            loss = loss + 30 * mse_loss(model.reward(z[successor])[:, 0], reward)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        watch(step)


def main(steps: int = STEPS) -> None:
    """Train both models, and tabulate what the monitor sees."""
    data = list_transitions()
    monitor = TheoremMonitor(data, "reward", label="place,lamp")
    print(monitor)
    pairs = monitor.relation.distinguished_pairs

    def show(numbers: dict[str, float], step: int) -> None:
        print(
            f"{step:6d}  {numbers['eval/rankme']:6.2f} of {WIDTH}  {numbers['theorem/closest_over_median']:12.5f}  "
            f"{numbers['theorem/collapsed_pairs']:9.0f} of {pairs}"
        )

    for with_reward in (False, True):
        torch.manual_seed(0)
        model = JEPA()
        watch = TheoremCallback(
            monitor,
            model,
            encode=JEPA.encode,
            predict=JEPA.predict,
            auxiliary=(lambda model, z: model.reward(z)) if with_reward else None,
            every=max(steps // 5, 1),
            log=show,
        )
        print(f"\n{'With the reward predicted from the embedding' if with_reward else 'The transitions alone'}")
        print("  step       RankMe  closest pair  collapsed pairs")
        train(model, data, watch, with_reward, steps)
        print(f"closest: {watch.measures.pair}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
