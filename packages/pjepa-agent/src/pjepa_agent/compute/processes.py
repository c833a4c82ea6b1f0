"""Collectives between the processes that train one run, as `torchrun` starts them.

Every rank collects its own data and trains on its part of a batch. In a process that was started alone every collective
returns its input.
"""

import abc
import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, distributed, nn

from pjepa_agent.config.fields import ConfigError

RANK_SEEDS = 2**48
"""Distance between the seeds of two ranks; larger than anything that a run adds to its seed elsewhere."""


class Processes(abc.ABC):
    """Describe the processes that train one run, and communicate between them.

    All ranks must call the same collectives in the same order.

    Args:
        rank: number of this process; rank 0 is the main process.
        size: number of processes.
    """

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size

    @property
    def is_main(self) -> bool:
        """Tell whether this process is rank 0, which alone evaluates and writes the run directory."""
        return self.rank == 0

    def seed(self, seed: int) -> int:
        """Return this rank's seed for what it draws by itself; rank 0 keeps the run's seed."""
        return seed + RANK_SEEDS * self.rank

    def local_batch_size(self, batch_size: int, name: str = "batch_size") -> int:
        """Return the size of this rank's part of a batch.

        Args:
            batch_size: of all ranks together.
            name: of the setting.

        Raises:
            ConfigError: a batch of this size cannot be divided evenly into parts of two or more.
        """
        if batch_size % self.size or batch_size // self.size < 2:
            raise ConfigError(
                f"optimization.{name}={batch_size}: cannot be divided among {self.size} processes; "
                f"take a multiple of {self.size}, at least {2 * self.size}"
            )
        return batch_size // self.size

    @contextlib.contextmanager
    def main_process_first(self) -> Iterator[None]:
        """Run the block on rank 0 before it runs on the other ranks."""
        if not self.is_main:
            self.barrier()
        yield
        if self.is_main:
            self.barrier()

    @abc.abstractmethod
    def any_rank(self, flag: bool) -> bool:
        """Tell whether the flag is set on any rank."""

    @abc.abstractmethod
    def all_true(self, flags: Tensor) -> Tensor:
        """Combine flags (k,) on the CPU by a logical and over ranks."""

    @abc.abstractmethod
    def mean(self, values: Tensor) -> Tensor:
        """Average a tensor over ranks; where there are several, the result is on the CPU."""

    @abc.abstractmethod
    def broadcast(self, values: Tensor) -> Tensor:
        """Return rank 0's tensor; its shape and type are those of `values` on every rank."""

    @abc.abstractmethod
    def all_gather(self, values: Tensor) -> list[Tensor]:
        """Return the tensors of all ranks, ordered by rank; they have one shape and type."""

    @abc.abstractmethod
    def broadcast_path(self, path: Path | None) -> Path:
        """Return rank 0's path; the other ranks' is ignored."""

    @abc.abstractmethod
    def barrier(self) -> None:
        """Wait until every rank has called this."""

    @abc.abstractmethod
    def data_parallel(self, module: nn.Module) -> nn.Module:
        """Wrap a module so that its gradients are averaged over ranks and its buffers are rank 0's."""


class SingleProcess(Processes):
    """Train a run in one process."""

    def __init__(self) -> None:
        super().__init__(rank=0, size=1)

    def any_rank(self, flag: bool) -> bool:
        """Return the flag."""
        return flag

    def all_true(self, flags: Tensor) -> Tensor:
        """Return the flags."""
        return flags

    def mean(self, values: Tensor) -> Tensor:
        """Return the tensor, on its own device."""
        return values

    def broadcast(self, values: Tensor) -> Tensor:
        """Return the tensor."""
        return values

    def all_gather(self, values: Tensor) -> list[Tensor]:
        """Return a list of this one tensor."""
        return [values]

    def broadcast_path(self, path: Path | None) -> Path:
        """Return the path."""
        assert path is not None
        return path

    def barrier(self) -> None:
        """Return at once."""

    def data_parallel(self, module: nn.Module) -> nn.Module:
        """Return the module itself."""
        return module


class TorchProcesses(Processes):
    """Communicate through the default process group of `torch.distributed`, which must be initialised."""

    def any_rank(self, flag: bool) -> bool:
        """Reduce the flag by its maximum."""
        flags = torch.tensor(int(flag))
        distributed.all_reduce(flags, distributed.ReduceOp.MAX)
        return bool(flags)

    def all_true(self, flags: Tensor) -> Tensor:
        """Reduce the flags by their minimum."""
        everywhere = flags.int()
        distributed.all_reduce(everywhere, distributed.ReduceOp.MIN)
        return everywhere.bool()

    def mean(self, values: Tensor) -> Tensor:
        """Reduce the tensor by its sum, and divide."""
        total = values.cpu()
        distributed.all_reduce(total)
        return total / self.size

    def broadcast(self, values: Tensor) -> Tensor:
        """Broadcast the tensor from rank 0."""
        values = values.cpu().contiguous()
        distributed.broadcast(values, 0)
        return values

    def all_gather(self, values: Tensor) -> list[Tensor]:
        """Gather the tensors on every rank."""
        gathered = [torch.empty_like(values) for _ in range(self.size)]
        distributed.all_gather(gathered, values)
        return gathered

    def broadcast_path(self, path: Path | None) -> Path:
        """Broadcast the path from rank 0."""
        paths = [path]
        distributed.broadcast_object_list(paths, 0)
        assert paths[0] is not None
        return paths[0]

    def barrier(self) -> None:
        """Wait at a barrier of the process group."""
        distributed.barrier()

    def data_parallel(self, module: nn.Module) -> nn.Module:
        """Wrap the module in `DistributedDataParallel`."""
        return nn.parallel.DistributedDataParallel(module)


SINGLE_PROCESS = SingleProcess()


@contextlib.contextmanager
def init_processes() -> Iterator[Processes]:
    """Initialise the process group if `torchrun` started several processes, until the block ends.

    Selects the CUDA device of the local rank, where there is CUDA.
    """
    if not distributed.is_torchelastic_launched() or os.environ["WORLD_SIZE"] == "1":
        yield SINGLE_PROCESS
        return
    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        backend = "cpu:gloo,cuda:nccl"
    distributed.init_process_group(backend)
    try:
        yield TorchProcesses(distributed.get_rank(), distributed.get_world_size())
    finally:
        distributed.destroy_process_group()
