"""Format a choice of auxiliary functions: as text, as rows and sentences of the page, and as plain values."""

import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from bisim_theory.data.auxiliary_names import parse_auxiliary
from bisim_theory.formats.limits import printable
from bisim_theory.outcome import Report
from bisim_theory.relation.choice import Choice, Ranked, Unprotected

WIDTH = 80
"""Characters of a line."""

BAR = 50
"""Most characters of a bar. Each stands for an equal share of the wanted pairs."""

LONGEST_IN_TABLE = 30
"""Characters of a name, beyond which it has a line of its own."""

HEAD = ("auxiliary", "protected", "floor", "levels", "embeddings")

Row = tuple[str, ...]


def choice_lines(report: Report, choice: Choice) -> list[str]:
    """Return a choice as lines of text, at most 80 characters each."""
    ranked = [each for each in choice.candidates if each.refused is None]
    width = min(max(len("auxiliary"), *(len(printable(each.name)) for each in ranked)), LONGEST_IN_TABLE)
    head, *columns = HEAD
    lines = [
        *_wrap(f"{headline(choice)}:", ""),
        f"  {head:{width}}" + "".join(f"  {name:>10}" for name in columns),
        *(line for each in ranked if not each.holds for line in _row_lines(each, width)),
    ]
    with_label = [each for each in ranked if each.holds]
    if with_label:
        lines += ["  with a wanted label itself, which protects its own pairs at level 1:"]
        lines += [line for each in with_label for line in _row_lines(each, width)]
    lines += ["  which of these pairs each protects (digit: level, dot: not protected):"]
    lines += [f"  {printable(each.name)[:width]:{width}}  {_bar(each, choice.pairs, width)}" for each in ranked]
    for sentence in sentences(report, choice):
        lines += _wrap(sentence, "  ")
    return lines


def headline(choice: Choice) -> str:
    """Say of which pairs the shares are, and what a floor is."""
    unknown = choice.occurring - choice.ambiguous - choice.observations
    of = f", {unknown:,} more are only reached and their p is not known of every candidate" if unknown else ""
    if choice.ambiguous:
        of += f", {choice.ambiguous:,} more stand for equal ones that differ in it and are left out"
    return printable(
        f"Auxiliary functions by what they protect of {choice.wanted} ({choice.pairs:,} pairs of "
        f"{choice.observations:,} observations differ in it{of}; floor: share of the pairs that agree in it and are "
        "told apart as well)"
    )


def cells(each: Ranked) -> Row:
    """Return name, share, floor, levels and embeddings of a candidate that is not refused."""
    needed, levels = each.embeddings, each.levels
    assert needed is not None
    return (
        printable(each.name),
        _share(each.share, each.exact),
        "-" if each.floor is None else _share(each.floor, each.exact),
        "-" if not levels else f"{levels[0]}" if len(levels) == 1 else f"{levels[0]}-{levels[-1]}",
        ("" if needed.exact else ">= ") + f"{needed.at_least:,}",
    )


def _share(share: float, exact: bool) -> str:
    return ("" if exact else "~") + f"{share:.3f}"


def _row_lines(each: Ranked, width: int) -> list[str]:
    name, *values = cells(each)
    row = f"{'':{width}}" if len(name) > width else f"{name:{width}}"
    return [f"  {name}"] * (len(name) > width) + [f"  {row}" + "".join(f"  {value:>10}" for value in values)]


def _bar(each: Ranked, pairs: int, width: int) -> str:
    length = min(BAR, WIDTH - width - 4)
    bar = ""
    for level, end in enumerate(np.round(np.cumsum(each.pairs_per_level) / pairs * length).astype(int).tolist(), 1):
        bar += (str(level) if level < 10 else "+") * (end - len(bar))
    return bar[:length] + "\N{MIDDLE DOT}" * (length - len(bar))


def _wrap(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=f"{indent}  ", break_on_hyphens=False)


def sentences(report: Report, choice: Choice) -> list[str]:
    """Say which candidate stands out, what none protects, which cannot be p, and what was left out."""
    found = [_best(choice), *_unprotected(report, choice), *_refused(choice)]
    estimated = [each.name for each in choice.candidates if not each.exact]
    if estimated:
        found.append(f"Estimates from a uniform sample of pairs (~): {', '.join(estimated)}")
    found += [f"Left out: {sentence}" for sentence in choice.left_out]
    return [printable(sentence) for sentence in found]


def _best(choice: Choice) -> str:
    best = next((each for each in choice.candidates if each.name == choice.best), None)
    if best is None:
        return (
            f"No auxiliary here but the labels themselves tells apart pairs that differ in {choice.wanted} more often "
            "than pairs that agree in it"
        )
    _, share, floor, levels, embeddings = cells(best)
    over = "" if best.floor is None else f", and tells apart {floor} of the pairs that agree: furthest above its floor"
    return (
        f"{best.name} protects {share} of the pairs that differ in {choice.wanted}, at level{_plural(levels)}, with "
        f"{embeddings} embedding{'' if embeddings == '1' else 's'}{over}"
    )


def _plural(levels: str) -> str:
    return f"s {levels}" if "-" in levels else f" {levels}"


def _unprotected(report: Report, choice: Choice) -> Iterator[str]:
    without, by_all, alike = choice.unprotected, choice.unprotected_by_all, choice.look_alikes
    which = f"without {choice.wanted} itself"
    if not without.pairs:
        how = "all of these pairs" if without.exact else "all pairs of a sample"
        yield f"Not protected by any auxiliary here {which}: none; together they protect {how}"
    else:
        yield f"Not protected by any auxiliary here {which}, nor by all together: {_left(report, choice, without)}"
    if by_all.pairs:
        yield f"Not protected with the labels themselves either: {_left(report, choice, by_all)}"
    if alike is not None and alike.example is not None:
        yield (
            f"No encoder tells {alike.pairs:,} pairs of equal observations apart that differ in {choice.wanted}, such "
            f"as {_pair(report, choice, alike.example)}"
        )


def _left(report: Report, choice: Choice, left: Unprotected) -> str:
    said = f"{_share(left.share, left.exact)} ({left.pairs:,} pairs{'' if left.exact else ', estimated'})"
    if left.example is None:
        return said
    if left.equal:
        why = "they are equal"
    elif not left.in_common:
        why = "no action was observed from both, so more data may tell"
    else:
        why = "every p here agrees, and wherever the same actions lead as far as the data goes"
    return f"{said}, such as {_pair(report, choice, left.example)}; {why}"


def _pair(report: Report, choice: Choice, pair: tuple[int, int]) -> str:
    return " and ".join(f"observation {each} ({_labels_of(report, choice, each)})" for each in pair)


def _labels_of(report: Report, choice: Choice, observation: int) -> str:
    return ", ".join(f"{name} {value}" for name, value in _label_values(report, choice, observation).items())


def _label_values(report: Report, choice: Choice, observation: int) -> dict[str, Any]:
    labels = report.data.labels
    names = dict.fromkeys(term.base for name in choice.wanted.names for term in parse_auxiliary(name, labels))
    return {name: labels[name][observation].tolist() for name in names}


def _refused(choice: Choice) -> Iterator[str]:
    for each in choice.candidates:
        if each.refused is not None:
            yield f"No candidate: {each.name}: {each.refused}"


def table_rows(candidates: Sequence[Ranked]) -> list[Row]:
    """Return the rows of the page: those of candidates that are not refused, with what wanted label each has."""
    return [(*cells(each), ", ".join(each.holds)) for each in candidates if each.refused is None]


def choice_values(report: Report, choice: Choice) -> dict[str, Any]:
    """Return a choice as plain values with stable names."""
    alike = choice.look_alikes
    return {
        "wanted": list(choice.wanted.names),
        "observations": choice.observations,
        "ambiguous": choice.ambiguous,
        "pairs": choice.pairs,
        "best": choice.best,
        "candidates": [_candidate(each, choice.pairs) for each in choice.candidates],
        "unprotected": {
            "without_labels": _unprotected_values(report, choice, choice.unprotected),
            "with_labels": _unprotected_values(report, choice, choice.unprotected_by_all),
        },
        "look_alikes": None if alike is None else {
            "pairs": alike.pairs,
            "example": None if alike.example is None else _example(report, choice, alike.example),
        },
        "left_out": list(choice.left_out),
    }  # fmt: skip


def _candidate(each: Ranked, pairs: int) -> dict[str, Any]:
    needed = each.embeddings
    return {
        "name": each.name,
        "wanted_labels": list(each.holds),
        "share": None if needed is None else each.share,
        "floor": each.floor,
        "protected_pairs_per_level": list(each.pairs_per_level),
        "share_per_level": [level / pairs for level in each.pairs_per_level],
        "known": each.known,
        "codes_forced": None if needed is None else {"at_least": needed.at_least, "exact": needed.exact},
        "codes_constructed": None if needed is None else needed.constructed,
        "exact": each.exact,
        "refused": each.refused,
    }


def _unprotected_values(report: Report, choice: Choice, left: Unprotected) -> dict[str, Any]:
    example = None
    if left.example is not None:
        example = _example(report, choice, left.example) | {"equal": left.equal, "actions_in_common": left.in_common}
    return {"pairs": left.pairs, "share": left.share, "exact": left.exact, "example": example}


def _example(report: Report, choice: Choice, pair: tuple[int, int]) -> dict[str, Any]:
    return {"pair": list(pair), "labels": [_label_values(report, choice, each) for each in pair]}
