"""Which pairs Theorem 3 explains, against loops over all pairs, and what follows from it."""

import functools
import itertools
import json

import numpy as np
import pytest
from bisim_theory import (
    NoWellTrainedModelError,
    Representation,
    Tolerance,
    TransitionDataset,
    analyse,
    check_theorem,
    empirical_bisimulation,
    fold,
    to_json,
    to_text,
    write_transitions,
)
from bisim_theory.cli import main
from bisim_theory.theorem.explained import FEW_PAIRS, Explanation
from bisim_theory.theorem.residuals import Residuals
from support.commands import run_command

run = functools.partial(run_command, main)


def random_world(rng, vector=0, folded=False):
    """Draw transitions with leaves, unknown p and, to be folded, several successors of one observation and action."""
    frames, actions = 8, 2
    p = rng.integers(2, size=(frames, vector) if vector else frames).astype(float)
    rows = [(x, a, int(rng.integers(frames))) for x in range(frames - 2) for a in range(actions) if rng.random() < 0.7]
    rows = rows or [(0, 0, 1)]
    x, a, y = rows[int(rng.integers(len(rows)))]
    rows.append((x, a, int(rng.integers(frames)) if folded else y))
    source, action, successor = np.array(rows).T
    known = rng.random(frames) < 0.8
    known[source[0]] = True
    value = 0.2 + 0.6 * action[:, None] + (0.2 * rng.random((len(rows), 1)) if rng.random() < 0.5 else 0.0)
    return TransitionDataset(
        source, action, successor, observation_auxiliary=p, observation_auxiliary_known=known,
        action_value=value if rng.random() < 0.5 else None, size=frames,
    )  # fmt: skip


def random_model(rng, data):
    """Draw E with few values, and T and P as functions of them: exact for some rows, with errors of several sizes."""
    points = rng.normal(size=(data.frames, 3))
    place = rng.integers(int(rng.integers(3, 9)), size=data.frames) if rng.random() < 0.6 else np.arange(data.frames)
    embedding = points[place]
    errors = float(rng.choice([0.0, 0.2, 0.6])) * rng.normal(size=(len(points), 2, 3))
    leads = {
        (int(place[x]), int(a)): embedding[y] for x, a, y in zip(data.source, data.action, data.successor, strict=True)
    }
    slope = rng.normal(size=3) * (data.action_value is not None)

    def predict(row, value):
        at = int(place[data.source[row]]), int(data.action[row])
        return leads[at] + errors[at] + slope * value

    value = np.zeros(len(data)) if data.action_value is None else data.action_value[:, 0]
    mean = np.array([value[data.action == a].mean() for a in data.action])
    canonical = data.action_value is not None and rng.random() < 0.5
    values = data.observation_auxiliary
    head = {int(place[x]): values[x] for x in range(data.frames)}
    noise = float(rng.choice([0.0, 0.4])) * rng.normal(size=(len(points), *values.shape[1:]))
    predicted = np.array([head[k] + noise[k] for k in place])
    return Representation(
        embedding,
        np.array([predict(row, value[row]) for row in range(len(data))]),
        predicted[data.source],
        np.array([predict(row, mean[row]) for row in range(len(data))]) if canonical else None,
        predicted_observation_auxiliary=predicted if rng.random() < 0.5 else None,
    )


def literal_levels(data, names):
    """Compute the level of every pair of sources and leaves by Definition 4's rounds over folded observations."""
    p = {}
    for x in np.flatnonzero(data.observation_auxiliary_known).tolist():
        p[names[x]] = np.atleast_1d(data.observation_auxiliary[x]).tolist()
    f = {(names[x], a): names[y] for x, a, y in zip(data.source, data.action, data.successor, strict=True)}
    occurs = set(data.source.tolist()) | set(data.successor.tolist())
    seen = sorted(x for x in occurs if x in data.source or data.observation_auxiliary_known[x])
    level = {}
    for number in itertools.count(1):
        new = {}
        for u, v in itertools.product({names[x] for x in seen}, repeat=2):
            differ = u in p and v in p and p[u] != p[v]
            follow = any((u, a) in f and (v, a) in f and (f[u, a], f[v, a]) in level for a in set(data.action.tolist()))
            if (u, v) not in level and (differ or follow):
                new[u, v] = number
        if not new:
            break
        level |= new
    pairs = itertools.combinations(seen, 2)
    return {(x, y): level[names[x], names[y]] for x, y in pairs if (names[x], names[y]) in level}, level


def literal_explained(data, model, names):
    """Return level -> pair -> whether it is explained, by a loop over pairs, actions and rows."""
    canonical = model.predicted_embedding_canonical
    at_code = model.predicted_embedding if canonical is None else canonical
    rows = range(len(data))

    def known(a):
        if canonical is not None or data.action_value is None:
            return True
        return len({data.action_value[r].tobytes() for r in rows if data.action[r] == a}) == 1

    def step(x, a):
        own = [r for r in rows if data.source[r] == x and data.action[r] == a]
        if not own or not known(a):
            return None
        residual = max(np.linalg.norm(at_code[r] - model.embedding[data.successor[r]]) for r in own)
        reached = sorted({int(data.successor[r]) for r in own})
        mean = np.mean([model.embedding[s] for s in reached], 0)
        middle = min(reached, key=lambda s: np.linalg.norm(model.embedding[s] - mean))
        return (
            middle,
            residual + max(np.linalg.norm(model.embedding[s] - model.embedding[middle]) for s in reached),
            own,
        )

    def p_errors(x):
        if not data.observation_auxiliary_known[x]:
            return None
        said = [model.predicted_auxiliary[r] for r in rows if data.source[r] == x]
        if model.predicted_observation_auxiliary is not None:
            said.append(model.predicted_observation_auxiliary[x])
        each = [np.abs(np.atleast_1d(one - data.observation_auxiliary[x])) for one in said]
        return (max(map(np.linalg.norm, each)), np.max(each, 0)) if each else None

    def by_p(x, y):
        one, other = p_errors(x), p_errors(y)
        if one is None or other is None:
            return None
        apart = np.abs(np.atleast_1d(data.observation_auxiliary[x] - data.observation_auxiliary[y]))
        return one[0] + other[0] < np.linalg.norm(apart) - 1e-9 or bool((one[1] + other[1] < apart - 1e-9).any())

    def by_step(x, y, level, of_names):
        for a in sorted(set(data.action.tolist())):
            one, other = step(x, a), step(y, a)
            if one is None or other is None:
                continue
            below = of_names.get((names[one[0]], names[other[0]]), level)
            gap = np.linalg.norm(model.embedding[one[0]] - model.embedding[other[0]])
            if below < level and one[1] + other[1] < gap - 1e-9:
                for r, q in itertools.product(one[2], other[2]):  # then any two rows tell T's values apart
                    assert not np.array_equal(at_code[r], at_code[q])
                return True
        return False

    levels, of_names = literal_levels(data, names)
    found = {}
    for (x, y), level in levels.items():
        result = by_p(x, y) if level == 1 else by_step(x, y, level, of_names)
        found.setdefault(level, {})[x, y] = result
    return found


def test_explained_pairs_are_those_of_loops_over_pairs_and_have_different_embeddings():
    seen = dict.fromkeys(("explained", "deep", "unexplained", "unpredicted", "folded", "met", "unknown"), 0)
    for seed in range(600):
        rng = np.random.default_rng(seed)
        data = random_world(rng, vector=2 * (seed % 2), folded=bool(seed % 3))
        try:
            names = fold(data) if seed % 3 else np.arange(data.frames)
        except NoWellTrainedModelError:
            continue
        relation, model = empirical_bisimulation(data, names), random_model(rng, data)
        explanation = Explanation(Residuals(relation, model))
        expected = literal_explained(data, model, names)
        check = check_theorem(relation, model)
        seen["folded"] += relation.folded
        seen["unknown"] += explanation.unknown_codes > 0
        assert [level.level for level in check.levels] == sorted(expected)
        all_explained = bool(expected)
        for level, pairs in expected.items():
            x, y = np.array(list(pairs)).T
            wanted = np.array([bool(each) for each in pairs.values()])
            assert explanation.explained(x, y, level).tolist() == wanted.tolist()
            assert explanation.explained(y, x, level).tolist() == wanted.tolist()
            same = (model.embedding[x] == model.embedding[y]).all(1)
            assert not (wanted & same).any()  # T and P are functions, so what they tell apart is apart
            of_level = check.levels[level - 1].explained
            assert of_level.of_occurrences == pytest.approx(wanted.mean())
            shares = {}
            for a, b, each in zip(relation.class_of(x), relation.class_of(y), wanted, strict=True):
                shares.setdefault(frozenset((int(a), int(b))), []).append(each)
            assert of_level.of_classes == pytest.approx(np.mean([np.mean(each) for each in shares.values()]))
            assert of_level.share == min(of_level.of_occurrences, of_level.of_classes)
            assert of_level.unpredicted_pairs == sum(each is None for each in pairs.values())
            all_explained &= bool(wanted.all())
            seen["explained"] += int(wanted.sum())
            seen["deep"] += int(wanted.sum()) * (level > 2)
            seen["unexplained"] += int((~wanted).sum())
            seen["unpredicted"] += of_level.unpredicted_pairs
        if all_explained:
            assert check.collapsed_pairs == 0
            assert check.closest.min_distance > 0
            assert check.verdict == "holds"
            seen["met"] += 1
    assert min(seen.values()) > 20, seen


def test_a_prediction_between_two_successors_explains_nothing_whatever_the_rounding():
    """x and y have one embedding, so that T's best guess is between their successors: e_d adds up to the gap."""
    data = TransitionDataset([0, 1, 2, 3], [0, 0, 0, 0], [2, 3, 2, 3], [0, 0, 0, 1])
    relation = empirical_bisimulation(data)
    for seed in range(400):
        rng = np.random.default_rng(seed)
        a, b = rng.normal(size=(2, 5)) * 10.0 ** rng.integers(-8, 8)
        part = rng.random()
        embedding = np.stack([0 * a, 0 * a, a, b])
        predicted = np.stack([part * a + (1 - part) * b] * 2 + [a, b])
        check = check_theorem(relation, Representation(embedding, predicted, np.array([0.0, 0, 0, 1])))
        pair = np.array([0]), np.array([1])
        assert not Explanation(
            Residuals(relation, Representation(embedding, predicted, data.p.astype(float)))
        ).explained(*pair, 2)
        assert check.verdict == "collapsed"
        other = TransitionDataset([0, 1, 2, 3], [0, 0, 0, 0], [0, 1, 2, 3], [a[0], b[0], 0, 1])
        # P between two values of p likewise.
        guess = np.array([part * a[0] + (1 - part) * b[0]] * 2 + [0.0, 1.0])
        of_p = Explanation(Residuals(empirical_bisimulation(other), Representation(embedding, embedding, guess)))
        assert not of_p.explained(*pair, 1)


def moved(canonical):
    """x = 0 does +0.2 and y = 1 does +0.9 under one code, T(z, a) = z + a and E(x) = E(y): no error, and a collapse."""
    data = TransitionDataset(
        [0, 1, 2, 3], [0, 0, 0, 0], [2, 3, 2, 3], [0, 0, 0, 1], action_value=np.array([[0.2], [0.9], [0.0], [0.0]])
    )
    embedding = np.array([[0.0], [0.0], [0.2], [0.9]])
    mean = embedding[data.source] + data.action_value.mean()
    done = embedding[data.source] + data.action_value
    return data, Representation(embedding, done, data.p.astype(float), mean if canonical else None)


@pytest.mark.parametrize("canonical", [True, False])
def test_actions_of_one_code_that_differ_explain_nothing_of_where_they_lead(canonical):
    data, model = moved(canonical)
    explanation = Explanation(Residuals(empirical_bisimulation(data), model))
    assert not explanation.explained(np.array([0]), np.array([1]), 2)
    report = analyse(data, model)
    said = "1 action code with different actions and no predicted_embedding_canonical"
    assert (said in to_text(report)) == (not canonical)
    assert to_json(report)["hypothesis"]["unknown_codes"] == int(not canonical)
    # With one action a code, T at the action that was done is T of the code.
    same = TransitionDataset(
        data.source, data.action, data.successor, data.auxiliary, action_value=np.full((4, 1), 0.2)
    )
    assert check_theorem(empirical_bisimulation(same), model).unknown_codes == 0


def corridor():
    """Walk on places 0..4 with p = 1 at 4, which is seldom reached; give every frame and the place that it shows."""
    rng = np.random.default_rng(3)
    rows = []
    for _ in range(150):
        place = 0
        for _ in range(10):
            action = int(rng.random() < 0.4)
            after = 4 if place == 4 else max(place + 2 * action - 1, 0)
            rows.append((place, action, after))
            place = after
    rows += [(4, 0, 4), (4, 1, 4)]
    place, action, after = np.array(rows).T
    shown = np.stack([place, after], 1).ravel()
    data = TransitionDataset(
        np.arange(0, len(shown), 2), action, np.arange(1, len(shown), 2), (place == 4).astype(float),
        observation=np.broadcast_to(shown[:, None, None, None], (len(shown), 4, 4, 3)).astype(np.uint8).copy(),
    )  # fmt: skip
    return data, np.eye(5)[shown]


def test_a_dynamics_that_never_predicts_the_goal_fails_at_the_level_of_the_goal(tmp_path, capsys):
    data, embedding = corridor()
    reached, left = embedding[1::2], embedding[0::2]
    onto_goal = (reached[:, 4] == 1) & (left[:, 4] == 0)
    assert 0 < onto_goal.mean() < 0.03
    write_transitions(tmp_path / "transitions.npz", data)
    for wrong in (False, True):
        predicted = np.where(onto_goal[:, None] & wrong, left, reached)
        np.savez(
            tmp_path / "representation.npz", embedding=embedding, predicted_embedding=predicted,
            predicted_auxiliary=left[:, 4],
        )  # fmt: skip
        status, out, _ = run(capsys, tmp_path, "--json", tmp_path / "out.json", "--html", tmp_path / "out.html")
        hypothesis = json.loads((tmp_path / "out.json").read_text())["hypothesis"]
        shares = [level["explained_share"] for level in hypothesis["levels"]]
        page = (tmp_path / "out.html").read_text()
        verdict = out.splitlines()[-1]
        assert all(level["residual_ratio"] == 0 for level in hypothesis["levels"])  # medians do not see it
        if wrong:
            assert status == 3
            assert hypothesis["unexplained_levels"] == [2]
            assert shares[1] < 0.5
            assert "hypothesis not met: the residuals explain too few pairs of level 2 (" in verdict
            assert "Too few pairs are explained at level 2." in page
            assert "too few pairs of level 2 (" in page
        else:
            assert (status, hypothesis["unexplained_levels"]) == (0, [])
            assert shares == [1] * len(shares)
    assert run(capsys, tmp_path, "--tolerance", "explained=0")[0] == 0


def rare_kind(often=50, wrong=True):
    """Many observations that lead to p = 1, as many to p = 0, and two to p = 2, of which T is wrong."""
    kinds = np.repeat([0, 1, 2], [often, often, 2])
    n = len(kinds)
    source = np.arange(n + 3)
    successor = np.concatenate([n + kinds, n + np.arange(3)])
    p = np.concatenate([np.full(n, 9), np.arange(3)])
    data = TransitionDataset(source, np.zeros_like(source), successor, p)
    embedding = np.concatenate([np.eye(6)[3 + kinds], np.eye(6)[:3]])
    predicted = embedding[successor].copy()
    predicted[: n + 3][np.concatenate([kinds == 2, [False] * 3]) & wrong] *= -1
    return data, Representation(embedding, predicted, p.astype(float))


def test_a_rare_kind_of_observation_does_not_drown_in_the_frequent_ones():
    data, model = rare_kind()
    level = check_theorem(empirical_bisimulation(data), model).levels[1]
    assert level.explained.of_occurrences == pytest.approx(2500 / 2700)
    assert (level.explained.of_classes, level.explained.smaller) == (pytest.approx(1 / 3), "classes")
    assert check_theorem(empirical_bisimulation(data), model).verdict == "hypothesis-not-met"
    assert check_theorem(empirical_bisimulation(data), rare_kind(wrong=False)[1]).verdict == "holds"


def test_shares_of_samples_are_near_those_of_all_pairs_and_are_called_sampled():
    data, model = rare_kind(often=150)
    relation = empirical_bisimulation(data)
    exact = check_theorem(relation, model).levels[1].explained
    for most in (4_000, 900):
        drawn = check_theorem(relation, model, Tolerance(sample=most)).levels[1].explained
        assert (exact.sampled, drawn.sampled, drawn.pairs) == (False, True, most)
        assert drawn.of_occurrences == pytest.approx(exact.of_occurrences, abs=4 * 0.5 / np.sqrt(most))
        assert drawn.of_classes == pytest.approx(
            exact.of_classes, abs=0.02
        )  # all three pairs of classes, equally often
    two = check_theorem(relation, model, Tolerance(sample=2)).levels[1].explained
    assert two.pairs == 2


@pytest.mark.parametrize("pairs", [FEW_PAIRS - 1, FEW_PAIRS])
def test_of_few_pairs_all_but_one_are_asked_for(pairs):
    """One observation of p = 1 and some of p = 0, all different in an embedding that P reads with errors."""
    n = pairs + 1
    source = np.arange(n)
    data = TransitionDataset(source, np.zeros_like(source), source, (source == 0).astype(float))
    for unexplained, asked, met in ((0, 1.0, True), (1, 1.0, pairs < FEW_PAIRS), (2, 0.95, False), (2, 0.8, True)):
        said = data.p + 2.0 * ((source >= 1) & (source <= unexplained))
        check = check_theorem(
            empirical_bisimulation(data), Representation(np.eye(n), np.eye(n), said), Tolerance(explained=asked)
        )
        assert (check.levels[0].explained.unexplained, check.hypothesis_met) == (unexplained, met)


def test_the_only_pair_of_a_level_has_to_be_explained():
    data = TransitionDataset([0, 1, 2], [0, 0, 0], [1, 2, 2], [0, 0, 1])
    embedding = np.eye(3)
    predicted = embedding[[1, 1, 2]]
    check = check_theorem(empirical_bisimulation(data), Representation(embedding, predicted, np.array([0.0, 0, 1])))
    assert [level.pairs for level in check.levels] == [2, 1]
    assert [level.level for level in check.unexplained_levels] == [2]


def test_leaves_whose_p_is_not_predicted_are_counted():
    """Three chains into leaves of p = 1: the theorem needs P at the leaves too."""
    source, successor = np.array([0, 2, 4, 6]), np.array([1, 3, 5, 6])
    p = np.zeros(7)
    p[[1, 3, 5]] = 1
    data = TransitionDataset(source, np.zeros(4, int), successor, observation_auxiliary=p)
    embedding = np.eye(3)[[0, 1, 0, 1, 0, 1, 2]]
    arrays = embedding, embedding[successor], p[source]
    report = analyse(data, Representation(*arrays))
    level = to_json(report)["hypothesis"]["levels"][0]
    assert (level["unpredicted_pairs"], level["explained_share"]) == (level["pairs"], 0) == (12, 0)
    assert report.verdict == "hypothesis-not-met"
    assert "12 pairs of level 1 have an observation whose p the representation does not predict" in to_text(report)
    whole = analyse(data, Representation(*arrays, predicted_observation_auxiliary=p))
    assert (whole.check.levels[0].explained.unpredicted_pairs, whole.check.levels[0].explained.share) == (0, 1)
    assert "does not predict" not in to_text(whole)


def test_one_component_of_p_is_enough():
    """The norm of the error exceeds that of the difference, and the error of the component that differs is small."""
    source = np.arange(4)
    p = np.array([[0.0, 0.0], [0.0, 1.0], [0.0, 0.0], [0.0, 1.0]])
    data = TransitionDataset(source, np.zeros(4, int), source, p)
    said = p + np.array([3.0, 0.1])
    explained = (
        check_theorem(empirical_bisimulation(data), Representation(np.eye(4), np.eye(4), said)).levels[0].explained
    )
    assert (explained.share, explained.unexplained) == (1, 0)
    wrong = check_theorem(empirical_bisimulation(data), Representation(np.eye(4), np.eye(4), p + np.array([3.0, 0.6])))
    assert wrong.levels[0].explained.share == 0


def test_a_sampled_relation_has_shares_of_its_sample(monkeypatch):
    monkeypatch.setattr("bisim_theory.relation.compute.MOST_CLASSES", 2)
    n = 40
    source = np.repeat(np.arange(n), 2)
    data = TransitionDataset(source, np.arange(2 * n) % 2, np.minimum(source + 1, n - 1), source == n - 1)
    embedding = np.arange(n, dtype=float)[:, None]
    predicted = embedding[data.successor]
    check = check_theorem(empirical_bisimulation(data), Representation(embedding, predicted, data.p.astype(float)))
    assert not check.exact
    assert all(level.explained.sampled and level.explained.share == 1 for level in check.levels)
    off = predicted - 5.0 * (source[:, None] < 20)
    check = check_theorem(empirical_bisimulation(data), Representation(embedding, off, data.p.astype(float)))
    assert check.verdict == "hypothesis-not-met"
    assert min(level.explained.of_classes for level in check.levels) < 0.5
