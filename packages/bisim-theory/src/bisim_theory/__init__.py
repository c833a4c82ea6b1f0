"""Compute the largest bisimulation of saved transitions, and check Theorems 1 and 3 against an encoder.

>>> from bisim_theory import TransitionDataset, empirical_bisimulation
>>> data = TransitionDataset(source=[0, 1, 2], action=[0, 0, 0], successor=[1, 2, 2], auxiliary=[0, 0, 1])
>>> relation = empirical_bisimulation(data)
>>> relation.level(0, 1).item(), relation.witness(0, 1)
(2, [0])
"""

import importlib
from typing import TYPE_CHECKING, Any

from bisim_theory import _aliases

if TYPE_CHECKING:
    from bisim_theory.analysis import analyse
    from bisim_theory.data.auxiliary_functions import auxiliary_values
    from bisim_theory.data.contradiction import NoWellTrainedModelError
    from bisim_theory.data.folding import find_conflicts, fold
    from bisim_theory.data.identity import identify_by_content
    from bisim_theory.data.representation import Representation
    from bisim_theory.data.transitions import DatasetError, TransitionDataset
    from bisim_theory.formats import read_representation, read_transitions, write_representation, write_transitions
    from bisim_theory.monitor.measures import Measures
    from bisim_theory.monitor.pair import NamedPair
    from bisim_theory.monitor.theorem_monitor import TheoremMonitor
    from bisim_theory.outcome import Checked, Impossible, RelationOnly, Report
    from bisim_theory.relation.base import Relation
    from bisim_theory.relation.choice import Choice, choose_auxiliary
    from bisim_theory.relation.closure import cannot_collapse
    from bisim_theory.relation.collect_next import collect_next
    from bisim_theory.relation.comparison import Comparison, compare
    from bisim_theory.relation.compute import empirical_bisimulation
    from bisim_theory.relation.embeddings_needed import EmbeddingsNeeded, embeddings_needed
    from bisim_theory.report.json import to_json
    from bisim_theory.report.text import to_text
    from bisim_theory.theorem.bounds import Lipschitz, distance_bounds
    from bisim_theory.theorem.check import TheoremCheck, Tolerance, check_theorem
    from bisim_theory.theorem.nearest import nearest_distinguished

__version__ = "0.1.0"

__all__ = [
    "Checked",
    "Choice",
    "Comparison",
    "DatasetError",
    "EmbeddingsNeeded",
    "Impossible",
    "Lipschitz",
    "Measures",
    "NamedPair",
    "NoWellTrainedModelError",
    "Relation",
    "RelationOnly",
    "Report",
    "Representation",
    "TheoremCheck",
    "TheoremMonitor",
    "Tolerance",
    "TransitionDataset",
    "analyse",
    "auxiliary_values",
    "cannot_collapse",
    "check_theorem",
    "choose_auxiliary",
    "collect_next",
    "compare",
    "distance_bounds",
    "embeddings_needed",
    "empirical_bisimulation",
    "find_conflicts",
    "fold",
    "identify_by_content",
    "nearest_distinguished",
    "read_representation",
    "read_transitions",
    "to_json",
    "to_text",
    "write_representation",
    "write_transitions",
]

_HOMES = {
    "auxiliary_values": "bisim_theory.data.auxiliary_functions",
    "empirical_bisimulation": "bisim_theory.relation.compute",
    "Lipschitz": "bisim_theory.theorem.bounds",
    "distance_bounds": "bisim_theory.theorem.bounds",
    "cannot_collapse": "bisim_theory.relation.closure",
    "EmbeddingsNeeded": "bisim_theory.relation.embeddings_needed",
    "embeddings_needed": "bisim_theory.relation.embeddings_needed",
    "TheoremCheck": "bisim_theory.theorem.check",
    "Tolerance": "bisim_theory.theorem.check",
    "check_theorem": "bisim_theory.theorem.check",
    "Choice": "bisim_theory.relation.choice",
    "choose_auxiliary": "bisim_theory.relation.choice",
    "Comparison": "bisim_theory.relation.comparison",
    "compare": "bisim_theory.relation.comparison",
    "NoWellTrainedModelError": "bisim_theory.data.contradiction",
    "find_conflicts": "bisim_theory.data.folding",
    "fold": "bisim_theory.data.folding",
    "identify_by_content": "bisim_theory.data.identity",
    "nearest_distinguished": "bisim_theory.theorem.nearest",
    "collect_next": "bisim_theory.relation.collect_next",
    "to_json": "bisim_theory.report.json",
    "read_representation": "bisim_theory.formats",
    "read_transitions": "bisim_theory.formats",
    "write_representation": "bisim_theory.formats",
    "write_transitions": "bisim_theory.formats",
    "Measures": "bisim_theory.monitor.measures",
    "NamedPair": "bisim_theory.monitor.pair",
    "TheoremMonitor": "bisim_theory.monitor.theorem_monitor",
    "Relation": "bisim_theory.relation.base",
    "Checked": "bisim_theory.outcome",
    "Impossible": "bisim_theory.outcome",
    "RelationOnly": "bisim_theory.outcome",
    "Report": "bisim_theory.outcome",
    "analyse": "bisim_theory.analysis",
    "Representation": "bisim_theory.data.representation",
    "to_text": "bisim_theory.report.text",
    "DatasetError": "bisim_theory.data.transitions",
    "TransitionDataset": "bisim_theory.data.transitions",
}


def __getattr__(name: str) -> Any:
    # Lazy, since `bisim-check --help` need not wait a fifth of a second for NumPy.
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    return _aliases.moved(__name__, name)


_aliases.install(__name__, _aliases.MODULES)
