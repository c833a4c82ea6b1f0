"""The largest bisimulation of saved transitions, and Theorems 1 and 3 checked against an encoder.

>>> from bisim_theory import TransitionDataset, empirical_bisimulation
>>> data = TransitionDataset(source=[0, 1, 2], action=[0, 0, 0], successor=[1, 2, 2], auxiliary=[0, 0, 1])
>>> relation = empirical_bisimulation(data)
>>> relation.level(0, 1).item(), relation.witness(0, 1)
(2, [0])
"""

from bisim_theory.bisimulation import Relation, empirical_bisimulation
from bisim_theory.codes import CodesForced, codes_forced
from bisim_theory.collapse import TheoremCheck, Tolerance, check_theorem
from bisim_theory.determinism import NoWellTrainedModelError, find_conflicts, fold, identify_by_content
from bisim_theory.formats import read_representation, read_transitions, write_representation, write_transitions
from bisim_theory.report import Report, analyse
from bisim_theory.representation import Representation
from bisim_theory.transitions import DatasetError, TransitionDataset

__all__ = [
    "CodesForced",
    "DatasetError",
    "NoWellTrainedModelError",
    "Relation",
    "Report",
    "Representation",
    "TheoremCheck",
    "Tolerance",
    "TransitionDataset",
    "analyse",
    "check_theorem",
    "codes_forced",
    "empirical_bisimulation",
    "find_conflicts",
    "fold",
    "identify_by_content",
    "read_representation",
    "read_transitions",
    "write_representation",
    "write_transitions",
]
