"""Cost of predicted embeddings by a function of the user's."""

from collections.abc import Callable
from typing import Any

from bisim_theory.data.imported import describe_error

from pjepa_agent.config.imports import import_function
from pjepa_agent.planning.base import PlanningError
from pjepa_agent.planning.costs import Actions, Costs, Predicted


class ImportedCost:
    """Cost by a function of the user's.

    Args:
        name: ``module:function``, called with predicted embeddings (B, N, H, d), actions (B, N, H, A) and the model; it
            returns costs (B, N).
        model: handed to the function.

    Raises:
        ConfigError: the import fails.
    """

    def __init__(self, name: str, model: Any) -> None:
        self._name, self._model = name, model
        self._function: Callable[..., Any] = import_function(name, "--cost")

    def __call__(self, predicted: Predicted, actions: Actions) -> Costs:
        """Call the function.

        Raises:
            PlanningError: it fails.
        """
        try:
            found: Costs = self._function(predicted, actions, self._model)
        except (Exception, SystemExit) as error:  # a function of the user's can raise anything
            raise PlanningError(f"--cost {self._name}: raised {describe_error(error)}") from error
        return found
