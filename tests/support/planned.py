"""Dynamics and costs whose best plans are known."""

import numpy as np
import torch
from counting_env.rules import next_count
from pjepa_agent.envs.counting import SPEC
from scipy import ndimage

from support import corridor

TARGET, MOST = 4, 8


class Point:
    """A point that moves by its action: z' = z + a."""

    def __init__(self):
        self.calls = 0

    def rollout(self, embedding, actions):
        self.calls += actions.shape[0] * actions.shape[1]
        return embedding[:, None] + actions.cumsum(1)


class Ring:
    """Places on a ring; action 0 stays, 1 goes on, 2 goes back. Embeddings and actions are one-hot."""

    def __init__(self, places):
        self.places = places

    def rollout(self, embedding, actions):
        place = embedding.argmax(-1)
        reached = []
        for action in actions.unbind(1):
            place = (place + torch.tensor([0, 1, -1])[action.argmax(-1)]) % self.places
            reached.append(torch.nn.functional.one_hot(place, self.places).float())
        return torch.stack(reached, 1)


def folded_embeddings(apart=0.4):
    """Embeddings (9, 4) of the counts on a line that is folded at the target, as trained ones are.

    Between neighbours lies a distance of about 1, and between 4 - k and 4 + k one of 2 k `apart`.
    """
    table = torch.zeros(MOST + 1, 4)
    table[:, 0] = (torch.arange(MOST + 1) - TARGET).abs()
    table[:, 1] = apart * (torch.arange(MOST + 1) - TARGET)
    return table


class ExactCounting:
    """The exact dynamics of the counting world on given embeddings (9, d) of its counts."""

    def __init__(self, table):
        self.table = table

    def count(self, embedding):
        return torch.cdist(embedding, self.table).argmin(-1)

    def rollout(self, embedding, actions):
        count, reached = self.count(embedding), []
        for action in actions.unbind(1):
            code = (action[:, 0] >= 0).long()
            count = next_count(count, code, MOST)
            reached.append(self.table[count])
        return torch.stack(reached, 1)


class Decoded:
    """A head that decodes 1 at the target, and beside it a tail that falls by so much a step."""

    def __init__(self, table, tail=0.0):
        self.table, self.tail = table, tail

    def __call__(self, embedding):
        count = torch.cdist(embedding, self.table).argmin(-1)
        return torch.where(count == TARGET, 1.0, (8 - (count - TARGET).abs()) * self.tail)

    def decode(self, output):
        return output


class ExactModel(ExactCounting):
    """E, T and P of the counting world without any error: E counts the objects of an image."""

    spec, device = SPEC, torch.device("cpu")

    def __init__(self, table=None):
        super().__init__(folded_embeddings() if table is None else table)
        self.head, self.latent_dim = Decoded(self.table), self.table.shape[1]

    def encode(self, observations):
        counts = [ndimage.label(image.any(-1))[1] for image in np.asarray(observations)]
        return self.table[counts]


class ExactCorridor:
    """E, T and P of `support.corridor` without any error. Embeddings are one-hot places."""

    device, latent_dim = torch.device("cpu"), corridor.PLACES

    def __init__(self, spec):
        self.spec, self.head = spec, self

    def encode(self, observations):
        column = np.asarray(observations).sum((1, 3)).argmax(1)
        return torch.eye(corridor.PLACES)[column // 4]

    def rollout(self, embedding, actions):
        place, reached = embedding.argmax(-1), []
        for action in actions.unbind(1):
            place = (place + 2 * action.argmax(-1) - 1).clamp(0, corridor.PLACES - 1)
            reached.append(torch.eye(corridor.PLACES)[place])
        return torch.stack(reached, 1)

    def __call__(self, embedding):
        return embedding[:, -1]

    def decode(self, output):
        return output
