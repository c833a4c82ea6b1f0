"""Check the shapes that annotations promise."""

import inspect

from beartype import beartype
from jaxtyping import jaxtyped


def check_shapes(monkeypatch, *modules):
    """Check arguments and results of all functions and methods that modules define, until the test ends."""
    for module in modules:
        owners = [module, *(value for value in vars(module).values() if inspect.isclass(value))]
        for owner in owners:
            if getattr(owner, "__module__", module.__name__) != module.__name__:
                continue
            for name, function in list(vars(owner).items()):
                if inspect.isfunction(function) and function.__module__ == module.__name__:
                    monkeypatch.setattr(owner, name, jaxtyped(function, typechecker=beartype))
