"""Compile modules with PyTorch's compiler, where that works."""

import logging
from typing import Any

from torch import nn

logger = logging.getLogger("pjepa_agent")


class Compiler:
    """Compile modules. From the first that cannot be compiled, as without a C++ compiler, they run as they are.

    That is logged once. Modules that were compiled before stay so.

    Args:
        mode: of `torch.compile`.
    """

    def __init__(self, mode: str | None = None) -> None:
        self._mode = mode
        self.works = True

    def compile(self, module: nn.Module) -> nn.Module:
        """Return a module that does the same, compiled at its first call."""
        try:
            module.compile(mode=self._mode)
        except RuntimeError as error:  # of a system or a version of Python that PyTorch does not compile for
            self.give_up(error)
            return module
        return _Compiled(module, self)

    def give_up(self, error: Exception) -> None:
        """Log why modules are not compiled, once, and compile no more."""
        if not self.works:
            return
        self.works = False
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        reason = str(getattr(cause, "inner_exception", cause)).strip() or type(cause).__name__
        logger.warning(
            "compute.compile: the losses cannot be compiled here (%s); training goes on without, which is slower",
            reason.splitlines()[0].rstrip("."),
        )


class _Compiled(nn.Module):
    """Call a module that was told to compile. A call that fails to has computed nothing, and is repeated without."""

    def __init__(self, module: nn.Module, compiler: Compiler) -> None:
        super().__init__()
        self.module = module
        self._compiler = compiler
        self._compiled = False

    def forward(self, *arguments: Any) -> Any:
        if self._compiled or self._compiler.works:
            from torch._dynamo.exc import TorchDynamoException

            try:
                result = self.module(*arguments)
                self._compiled = True
                return result
            except TorchDynamoException as error:
                self._compiled = False
                self._compiler.give_up(error)
        return self.module.forward(*arguments)
