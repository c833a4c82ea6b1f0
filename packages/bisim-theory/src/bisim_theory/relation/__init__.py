"""R_D*, the pairs of observations that the data distinguishes (Definition 4)."""

from bisim_theory.relation.base import Pairs, Relation
from bisim_theory.relation.compute import empirical_bisimulation

__all__ = ["Pairs", "Relation", "empirical_bisimulation"]
