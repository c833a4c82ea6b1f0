"""Several processes that train one run, as `torchrun` starts them: each has a rank, its own data and a part of a batch.

A process that was started alone is a world of its own, and none of this changes anything for it.
"""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, distributed, nn

from pjepa_agent.config.fields import ConfigError

STREAM = 2**48
"""What is added to a seed for every rank, beyond all that a run adds to its seed elsewhere."""


@dataclass(frozen=True)
class World:
    """This process among those that train a run: `rank` of `size`. Rank 0 leads: it alone measures and writes.

    Every method that hears of other ranks has to be called by all of them, in the same order.
    """

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes the run directory."""
        return self.rank == 0

    def seed(self, seed: int) -> int:
        """The seed of what this rank draws by itself; rank 0 draws what a process alone does."""
        return seed + STREAM * self.rank

    def share(self, batch_size: int) -> int:
        """This rank's part of a batch.

        Raises:
            ConfigError: a batch of this size cannot be shared out evenly.
        """
        if batch_size % self.size or batch_size // self.size < 2:
            raise ConfigError(
                f"optimization.batch_size={batch_size}: cannot be shared out among {self.size} processes; "
                f"take a multiple of {self.size}, at least {2 * self.size}"
            )
        return batch_size // self.size

    def any(self, flag: bool) -> bool:
        """Whether the flag is set on any rank."""
        if self.size == 1:
            return flag
        flags = torch.tensor(int(flag))
        distributed.all_reduce(flags, distributed.ReduceOp.MAX)
        return bool(flags)

    def least(self, flags: Tensor) -> Tensor:
        """Flags (k,) on the CPU, each set where it is set on every rank."""
        if self.size == 1:
            return flags
        everywhere = flags.int()
        distributed.all_reduce(everywhere, distributed.ReduceOp.MIN)
        return everywhere.bool()

    def mean(self, values: Tensor) -> Tensor:
        """The mean over ranks of a tensor."""
        if self.size == 1:
            return values
        total = values.cpu()
        distributed.all_reduce(total)
        return total / self.size

    def first(self, values: Tensor) -> Tensor:
        """Rank 0's tensor, whose shape and type all ranks have."""
        if self.size == 1:
            return values
        values = values.cpu().contiguous()
        distributed.broadcast(values, 0)
        return values

    def all(self, values: Tensor) -> list[Tensor]:
        """The tensors of all ranks, by rank, which have one shape and type."""
        if self.size == 1:
            return [values]
        gathered = [torch.empty_like(values) for _ in range(self.size)]
        distributed.all_gather(gathered, values)
        return gathered

    def path(self, path: Path | None) -> Path:
        """A path that rank 0 has chosen."""
        if self.size > 1:
            chosen = [path]
            distributed.broadcast_object_list(chosen, 0)
            path = chosen[0]
        assert path is not None
        return path

    def wait(self) -> None:
        """Wait until all ranks have come here."""
        if self.size > 1:
            distributed.barrier()

    @contextlib.contextmanager
    def in_turn(self) -> Iterator[None]:
        """Have rank 0 go through the block before all others do."""
        if not self.leads:
            self.wait()
        yield
        if self.leads:
            self.wait()

    def parallel(self, module: nn.Module) -> nn.Module:
        """The module, with gradients that are averaged over the ranks and rank 0's buffers."""
        if self.size == 1:
            return module
        return nn.parallel.DistributedDataParallel(module)


ALONE = World()


@contextlib.contextmanager
def join() -> Iterator[World]:
    """The world of this process, until the block ends; its CUDA device is then that of its local rank."""
    if not distributed.is_torchelastic_launched() or os.environ["WORLD_SIZE"] == "1":
        yield ALONE
        return
    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        backend = "cpu:gloo,cuda:nccl"
    distributed.init_process_group(backend)
    try:
        yield World(distributed.get_rank(), distributed.get_world_size())
    finally:
        distributed.destroy_process_group()
