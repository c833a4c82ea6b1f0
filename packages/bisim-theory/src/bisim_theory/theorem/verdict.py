"""The outcome of a check of Theorem 3 in sentences."""

from bisim_theory.theorem.check import LevelCheck, TheoremCheck
from bisim_theory.theorem.unprotected import Unprotected

LEVELS_NAMED = 8
"""Most levels that a sentence names."""


def verdict_sentence(check: TheoremCheck, look_alike_pairs: int | None = None) -> str:
    """Return the meaning of a verdict as a sentence that names the levels that are not explained.

    Args:
        check: a model on its data.
        look_alike_pairs: number of distinguished pairs of equal observations, all of which are collapsed.
    """
    if check.verdict == "holds":
        if not check.levels:
            return "holds: the model is well-trained, and the data distinguishes no pair that it could collapse"
        return "holds: the model is well-trained within tolerance and no distinguished pair is collapsed"
    if check.verdict == "collapsed":
        sentence = "collapsed: a pair that the data distinguishes has (nearly) one embedding"
        if look_alike_pairs and look_alike_pairs == check.collapsed_pairs:
            return (
                f"{sentence}; all {look_alike_pairs:,} such pairs are of equal observations, which no encoder tells "
                "apart: the data shows too little of its world's state, as without a stack of frames"
            )
        return sentence
    failing = check.unexplained_levels
    if not failing:
        return (
            "hypothesis not met: the data distinguishes no pair, so there is no level to explain; then only residuals "
            f"of zero (up to point={check.tolerance.point:g}) meet it"
        )
    return (
        f"hypothesis not met: the residuals explain too few pairs of {_named(failing)}, less than the "
        f"{check.tolerance.explained:.1%} asked for, so Theorem 3 says nothing of the model"
    )


def _named(levels: list[LevelCheck]) -> str:
    """Name levels with their explained shares."""
    shares = [f"{level.level} ({level.explained.share:.1%})" for level in levels[:LEVELS_NAMED]]
    if len(levels) > LEVELS_NAMED:
        shares.append(f"{len(levels) - LEVELS_NAMED:,} more")
    names = ", ".join(shares[:-1]) + (" and " if len(shares) > 1 else "") + shares[-1]
    return f"level{'s' if len(levels) > 1 else ''} {names}"


def unexplained_notes(check: TheoremCheck) -> list[str]:
    """Return sentences about pairs that count as unexplained because predictions are missing."""
    notes = []
    if check.unknown_codes:
        notes.append(
            f"{check.unknown_codes:,} action code{'' if check.unknown_codes == 1 else 's'} with different actions and "
            "no predicted_embedding_canonical, so T at one action of the code is not known: it explains no pair"
        )
    unpredicted = check.levels[0].explained if check.levels and check.levels[0].level == 1 else None
    if unpredicted is not None and unpredicted.unpredicted_pairs:
        notes.append(
            f"{unpredicted.unpredicted_pairs:,} pairs of level 1 have an observation whose p the representation does "
            f"not predict, and count as unexplained{' (estimated)' if unpredicted.sampled else ''}"
        )
    return notes


def unprotected_notes(found: Unprotected) -> list[str]:
    """Return sentences about the pairs that nothing distinguishes, of which the theorem does not speak."""
    distance, protected = found.median_distance, found.protected_distance
    share = f"{distance / protected:.3g} of that of the distinguished ones" if protected > 0 else "zero, as all are"
    return [
        f"not distinguished: {found.pairs:,} pairs, which a model may merge or keep; their median distance "
        f"{distance:.4g} is {share}{', sampled' if found.sampled else ''}",
        f"separation {found.separation:.5f}: how often a distinguished pair is further apart than one of them "
        "(0.5: both are kept alike, 1: they are merged more)",
    ]
