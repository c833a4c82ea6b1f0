"""Measure seconds and memory of all that is asked of a relation, over the size of the data."""

import functools
import math
import time

import numpy as np
from bisim_theory import TransitionDataset, embeddings_needed, empirical_bisimulation
from bisim_theory.relation.graph import observed_graph
from bisim_theory.relation.refinement import refine_in_memory

from benchmarks.relation.inputs import (
    CORRIDOR,
    CYCLE,
    EPISODE,
    HELD,
    INITIAL,
    NOT_HELD,
    Sizes,
    deep,
    initial_unknown,
    partial,
    total,
    trajectories,
)
from benchmarks.relation.measuring import Figures, Stages, alone, medians, most, resident_mb, row, status_mb, table

QUERIES = 100_000


def growth_case(kind: str, transitions: int) -> Figures:
    """Measure one dataset with one observed action a source, and check the levels."""
    baseline = resident_mb()
    is_deep = kind in (CORRIDOR, CYCLE)
    data = deep(kind == CYCLE, transitions) if is_deep else trajectories(4 if kind == HELD else 1, transitions)
    data = initial_unknown(data) if kind == INITIAL else data
    x, y = data.source[np.random.default_rng(3).integers(len(data), size=(2, QUERIES))]
    labels = next(iter(data.labels.values()))
    with_input = resident_mb()
    stages = Stages(baseline, time.process_time)
    with stages.stage("relation"):
        relation = empirical_bisimulation(data)
        per_level = relation.distinguished_pairs_per_level
    with stages.stage("queries"):
        levels = relation.level(x, y)
    with stages.stage("share"):
        share = relation.certified_share(labels)
    with stages.stage("clique"):
        clique = relation.clique()
    figures = stages.figures | {"classes": relation.behaviour.classes, "levels": len(per_level), "codes": len(clique)}
    if is_deep:
        assert per_level == list(range(transitions - 1, 0, -1))
        assert (levels == np.where(x == y, 0, transitions - np.maximum(x, y))).all()
    else:
        assert (levels == walked(data, x, y)).all()
    stage_names = ("relation", "queries", "share", "clique")
    together = sum(figures[name] for name in stage_names)
    growing = together - figures["queries"]
    peak = figures["clique: peak"]
    beyond = (peak + baseline - with_input) * 1e6 / transitions
    known = {"share found": float(share or 0), "total": together, "growing": growing, "peak": peak, "beyond": beyond}
    return figures | known


def walked(data: TransitionDataset, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the levels of pairs (n,) in trajectories, by walking along both, one step at a time for all pairs."""
    p, action, successor = (np.full(data.frames, -1, np.int32) for _ in range(3))
    action[data.source], successor[data.source] = data.action, data.successor
    if data.auxiliary is not None:
        p[data.source] = data.auxiliary
    else:
        p[data.observation_auxiliary_known] = data.observation_auxiliary[data.observation_auxiliary_known]
    levels, alive = np.zeros(len(x), np.int64), np.ones(len(x), bool)
    for level in range(1, EPISODE + 2):
        differs = (p[x] != p[y]) & (p[x] >= 0) & (p[y] >= 0)
        levels[alive & differs] = level
        alive &= ~differs & (action[x] == action[y]) & (action[x] >= 0)
        x, y = np.where(alive, successor[x], x), np.where(alive, successor[y], y)
    return levels


def growth(rounds: int, sizes: Sizes) -> list[tuple[str, str]]:
    """Print the growth on trajectories; return the requirements and the results."""
    keys = [(kind, size) for kind in (HELD, NOT_HELD, INITIAL) for size in sizes.growth]
    keys += [(kind, sizes.deep) for kind in (CORRIDOR, CYCLE)]
    found = medians(rounds, {key: functools.partial(alone, growth_case, *key) for key in keys})
    columns = (
        "relation + counts, s",
        f"{QUERIES:,} levels, s",
        "certified share, s",
        "clique, s",
        "together, s",
        "peak, MB",
        "bytes a transition beyond the input",
    )
    table("input", "transitions", "classes", "levels", "share", "codes", *columns, "s / (n log n), of smallest")
    worst = 0.0
    for (kind, size), figures in found.items():
        times = [figures[name] for name in ("relation", "queries", "share", "clique", "total", "peak", "beyond")]
        relative = "-"
        if (kind, sizes.growth[0]) in found:
            first = sizes.growth[0]
            growth_of_time = figures["growing"] / found[kind, first]["growing"]
            growth_of_work = size * math.log2(size) / (first * math.log2(first))
            relative = f"{growth_of_time / growth_of_work:.2f}"
            worst = max(worst, growth_of_time / growth_of_work)
        known = (
            int(figures["classes"]),
            int(figures["levels"]),
            f"{figures['share found']:.2f}",
            int(figures["codes"]),
        )
        row(kind, size, *known, *times, relative)
    print("\nThe last column leaves the levels out, of which as many are asked at every size.")
    largest = [found[kind, max(sizes.growth)] for kind in (HELD, NOT_HELD, INITIAL)]
    extreme = [found[kind, sizes.deep] for kind in (CORRIDOR, CYCLE)]
    return [
        (f"{max(sizes.growth):,} transitions", most(largest)),
        ("at most 40 bytes a transition beyond the input", f"{max(each['beyond'] for each in largest):.1f}"),
        ("seconds no faster than n log n", f"at most {worst:.2f} of the smallest size's seconds / (n log n)"),
        (f"a corridor and a cycle of {sizes.deep:,}, as above", most(extreme)),
    ]


def covered_case(sources: int, share: int) -> Figures:
    """Measure the classes of data with full coverage of two actions."""
    data = total(sources, sources // share)
    rows = (each.astype(np.int32) for each in (data.source, data.action, data.successor))
    data = TransitionDataset(*rows, data.auxiliary)
    with_input = resident_mb()
    stages = Stages(with_input, time.process_time)
    with stages.stage("graph"):
        graph = observed_graph(data)
    with stages.stage("classes"):
        classes = refine_in_memory(graph)
    figures = stages.figures
    beyond = figures["classes: peak"] * 1e6 / len(data)
    return figures | {
        "number": int(classes.max()) + 1,
        "beyond": beyond,
        "total": figures["graph"] + figures["classes"],
    }


def covered(rounds: int, sizes: Sizes) -> list[tuple[str, str]]:
    """Print the table of full coverage; return the requirements and the results."""
    keys = [(size, share) for share in (10, 1) for size in sizes.covered]
    found = medians(rounds, {key: functools.partial(alone, covered_case, *key) for key in keys})
    columns = ("graph, s", "classes, s", "together, s", "bytes a transition beyond the input")
    table("sources", "transitions", "classes", *columns)
    for (size, _), figures in found.items():
        times = [figures[name] for name in ("graph", "classes", "total", "beyond")]
        row(size, 2 * size, int(figures["number"]), *times)
    beyond = max(found[max(sizes.covered), share]["beyond"] for share in (10, 1))
    return [("the same under full coverage", f"{beyond:.1f}")]


def general_case(sources: int) -> Figures:
    """Measure one dataset with several actions a source, and check the intransitive triple."""
    baseline = status_mb("VmRSS")
    data = partial(sources)
    np.unique(data.source)  # the first one imports parts of NumPy
    stages = Stages(baseline, time.process_time)
    with stages.stage("relation"):
        relation = empirical_bisimulation(data)
    with stages.stage("counts"):
        per_level = relation.distinguished_pairs_per_level
    with stages.stage("triple"):
        triple = relation.intransitive_triple
    peak = status_mb("VmHWM") - baseline
    with stages.stage("codes"):
        codes = embeddings_needed(relation)
    if triple is not None:
        x, y, z = triple
        assert relation.level([x, y, x], [y, z, z]).astype(bool).tolist() == [False, False, True]
    figures = stages.figures
    together = figures["relation"] + figures["counts"] + figures["triple"]
    known = {"classes": relation.behaviour.classes, "levels": len(per_level), "at least": codes.at_least}
    known["constructed"] = codes.constructed or 0
    return figures | known | {"total": together, "peak": peak}


def general(rounds: int, sizes: Sizes) -> list[tuple[str, str]]:
    """Print the table of several actions a source; return the requirements and the results."""
    found = medians(rounds, {size: functools.partial(alone, general_case, size) for size in sizes.general})
    names = "relation, s", "counts, s", "intransitive triple, s", "together, s", "peak, MB"
    table(
        "sources", "classes", "levels", *names,
        "embeddings needed, s", "peak with those, MB", "embeddings: at least, constructed",
    )  # fmt: skip
    for size, figures in found.items():
        times = [figures[name] for name in ("relation", "counts", "triple", "total", "peak", "codes", "codes: peak")]
        constructed = int(figures["constructed"]) or "given up"
        row(size, int(figures["classes"]), int(figures["levels"]), *times, f"{figures['at least']:.0f}, {constructed}")
    last = found[sizes.general[-1]]
    asked = f"{int(last['classes']):,} classes in under 20 s and 1 GB"
    return [(asked, most([last])), ("the same with embeddings needed", f"{last['total'] + last['codes']:.1f} s")]
