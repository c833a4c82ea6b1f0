import functools
import json
import os
import re
import subprocess
import sys
import time

import numpy as np
import pytest
from bisim_theory.cli import main
from bisim_theory.progress import progress_bar
from support.commands import run_command

CHAIN = {"source": [0, 1, 2, 3], "action": [1, 1, 1, 1], "successor": [1, 2, 3, 3], "auxiliary": [0, 0, 0, 1]}
EMBEDDING = np.array([[0.0], [1.0], [3.0], [6.0]])


def write(path, arrays, **more):
    np.savez(path, **{name: np.asarray(value) for name, value in {**arrays, **more}.items()})
    return path


def model(embedding=EMBEDDING, noise=0.0):
    return {
        "embedding": embedding,
        "predicted_embedding": embedding[CHAIN["successor"]] + noise,
        "predicted_auxiliary": np.array([0.0, 0, 0, 1]),
    }


run = functools.partial(run_command, main)


@pytest.mark.parametrize(
    ("arrays", "status", "verdict"),
    [
        (None, 0, "relation-only"),
        (model(), 0, "holds"),
        (model(EMBEDDING * [[0], [0], [1], [1]]), 1, "collapsed"),
        (model(noise=5), 3, "hypothesis-not-met"),
        # An encoder that collapses is said to collapse, however large its residuals are.
        (model(EMBEDDING * [[0], [0], [1], [1]], noise=5), 1, "collapsed"),
    ],
)
def test_verdict_exit_status_and_json(tmp_path, capsys, arrays, status, verdict):
    write(tmp_path / "transitions.npz", CHAIN, count=[0, 1, 2, 3])
    if arrays:
        write(tmp_path / "representation.npz", arrays)
    found, out, err = run(capsys, tmp_path, "--json", tmp_path / "out.json")
    assert (found, err) == (status, "")
    report = json.loads((tmp_path / "out.json").read_text())
    assert report["verdict"] == verdict
    expected = {
        "sources": 4,
        "transitions": 4,
        "conflicts": 0,
        "signature_classes": 4,
        "bisimulation_classes": 4,
        "distinguished_pairs_per_level": [3, 2, 1],
        "bisimilar_pairs": 0,
        "certified_share": 1.0,
        "codes_forced": {"at_least": 4, "exact": True},
    }
    assert {name: report[name] for name in expected} == expected
    if verdict == "holds":
        assert report["conclusion"]["min_distance"] == 1.0
        assert report["conclusion"]["pair"] == [0, 1]
        assert (report["conclusion"]["level"], report["conclusion"]["witness"]) == (3, [1, 1])
        assert "p differs after actions [1, 1]" in out
    if verdict == "relation-only":
        assert report["conclusion"] is None


def test_no_well_trained_model_is_exit_4_with_its_proof(tmp_path, capsys):
    arrays = {"source": [0, 0, 1, 2], "action": [0, 0, 0, 0], "successor": [1, 2, 1, 2], "auxiliary": [0, 0, 0, 1]}
    path = write(tmp_path / "d.npz", arrays)
    status, out, _ = run(capsys, path, "--fold", "--json", tmp_path / "out.json")
    assert status == 4
    assert "1 = 2: both follow 0 under action 0" in out
    report = json.loads((tmp_path / "out.json").read_text())
    assert report["verdict"] == "no-well-trained-model"
    assert report["no_well_trained_model"]["pair"] == [1, 2]


def test_conflicts_stop_with_both_ways_out(tmp_path, capsys):
    images = np.zeros((4, 8, 8, 3), np.uint8)
    images[2, 0, 0] = 9
    arrays = {"source": [0, 1], "action": [1, 1], "successor": [2, 3], "auxiliary": [0, 0], "observation": images}
    path = write(tmp_path / "d.npz", arrays)
    status, out, _ = run(capsys, path)
    assert status == 0
    assert "Equal images: 2 have exactly the content of an earlier one" in out
    status, out, err = run(capsys, path, "--identity", "content", "--json", tmp_path / "out.json")
    assert (status, out) == (2, "")
    assert "--fold" in err
    assert "--identity occurrence" in err
    assert not (tmp_path / "out.json").exists()
    assert run(capsys, path, "--identity", "content", "--fold")[0] == 0


def bad_inputs(folder):
    """Return name -> arguments and the text that the message must have."""
    good = write(folder / "good.npz", CHAIN)
    whole = good.read_bytes()
    (folder / "cut.npz").write_bytes(whole[: len(whole) // 2])
    flipped = bytearray(whole)
    flipped[200] ^= 0xFF
    (folder / "flipped.npz").write_bytes(flipped)
    (folder / "text.npz").write_text("this is no archive")
    (folder / "empty").mkdir()
    np.save(folder / "array.npy", np.zeros(3))
    objects = {**CHAIN, "auxiliary": np.array([{}, None, 1, 2], dtype=object)}
    np.savez(folder / "objects.npz", **{name: np.asarray(value) for name, value in objects.items()})
    missing = {name: value for name, value in CHAIN.items() if name != "action"}
    return {
        "does not exist": ([folder / "nothing"], "does not exist"),
        "empty folder": ([folder / "empty"], "holds no transitions.npz"),
        "truncated": ([folder / "cut.npz"], "is no .npz file, or a truncated one"),
        "flipped": ([folder / "flipped.npz"], "flipped.npz"),
        "text": ([folder / "text.npz"], "is no .npz file"),
        "npy": ([folder / "array.npy"], "is no .npz file"),
        "objects": ([folder / "objects.npz"], "auxiliary: holds Python objects"),
        "missing": ([write(folder / "m.npz", missing)], "action: is missing"),
        "nan": ([write(folder / "n.npz", CHAIN, auxiliary=[0, 0, 0, np.nan])], "auxiliary: row 3 is not finite"),
        "shape": ([write(folder / "s.npz", CHAIN, source=[[0, 1, 2, 3]])], "source: must be"),
        "dtype": ([write(folder / "f.npz", CHAIN, source=[0.0, 1, 2, 3])], "source: must be"),
        "metadata": ([write(folder / "j.npz", CHAIN, metadata="{")], "metadata: is no JSON"),
        "representation": ([good, "--representation", folder / "none.npz"], "none.npz: does not exist"),
        "wrong file": ([good, "--representation", good], "embedding: is missing"),
        "rows": (
            [good, "--representation", write(folder / "r.npz", model(), embedding=np.zeros((9, 1)))],
            "embedding: is (9, 1), the transitions ask for (4,)",
        ),
        "huge id": (
            [write(folder / "h.npz", CHAIN, successor=[1, 2, 3, 2**45])],
            "successor: holds index 35184372088832",
        ),
        "huge": (
            [good, "--representation", write(folder / "e.npz", model(EMBEDDING * 1e200))],
            "row 1 is not finite, or",
        ),
        "json is a folder": ([good, "--json", folder], "Is a directory"),
        "json is empty": ([good, "--json", ""], "Is a directory"),
        "json": ([good, "--json", folder / "no" / "where.json"], "where.json"),
        "content": ([good, "--identity", "content"], "observation: is needed"),
        "value": ([good, "--identity", "name"], "invalid choice"),
        "candidate": ([good, "--compare", "auxiliary,colour"], "offers auxiliary, constant"),
        "no candidate": ([good, "--compare", ""], "auxiliary='': this dataset offers"),
        "auxiliary": ([good, "--auxiliary", "count"], "auxiliary='count': this dataset offers"),
        "no auxiliary": (
            [write(folder / "p.npz", {k: v for k, v in CHAIN.items() if k != "auxiliary"}, reward=[0.0, 0, 1, 1])],
            "choose --auxiliary reward|reward:actions|constant",
        ),
        "actions": ([good, "--actions", "sign"], "--actions sign needs action_value"),
        "pair": ([good, "--pair", "0", "9"], "must be ids of observations, 0..3; 0..9 are asked for"),
        "half a pair": ([good, "--pair", "0"], "expected 2 arguments"),
        "tolerance": (
            [good, "--tolerance", "collapse=-1"],
            "must be explained (at most 1), transition, auxiliary (at most 1), collapse or point",
        ),
        "unknown tolerance": (
            [good, "--tolerance", "sample=3"],
            "must be explained (at most 1), transition, auxiliary (at most 1), collapse or point",
        ),
        "html": ([good, "--html", folder / "no" / "where.html"], "no/where.html"),
        "one file for two": ([good, "--json", folder / "x", "--html", folder / "x"], "x: is read or written already"),
        "over the input": ([good, "--json", good], "good.npz: is read or written already"),
        "html fails first": (
            [good, "--json", folder / "ok.json", "--html", folder / "no" / "where.html"],
            "no/where.html",
        ),
        "no representation": ([good, "--representation", ""], "is no regular file"),
        "explained above one": ([good, "--tolerance", "explained=90"], "must be explained (at most 1)"),
        "share above one": ([good, "--tolerance", "auxiliary=99"], "auxiliary (at most 1)"),
        "option": ([good, "--levels"], "unrecognized arguments"),
        "nothing": ([], "PATH"),
    }


def test_bad_input_is_one_clear_line_and_status_2(tmp_path, capsys):
    for name, (arguments, message) in bad_inputs(tmp_path).items():
        before = sorted(p.name for p in tmp_path.iterdir())
        status, out, err = run(capsys, *arguments)
        assert (status, out) == (2, ""), name
        assert err.startswith("bisim-check: error: "), name
        assert err.count("\n") == 1, name
        assert message in err, name
        assert sorted(p.name for p in tmp_path.iterdir()) == before, name


def test_help_needs_no_heavy_import_and_names_the_exit_states():
    code = "import sys; from bisim_theory.cli import main; sys.argv = ['bisim-check', '--help']\n"
    code += "try: main()\nexcept SystemExit: pass\nprint({'numpy', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("set()\n")
    assert "hypothesis not met" in done.stdout
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "bisim_theory.cli", "--help"], capture_output=True, check=True)
    assert time.perf_counter() - started < 5  # far above the half second of an idle machine


def test_nothing_distinguished_is_no_praise_for_the_model(tmp_path, capsys):
    write(tmp_path / "transitions.npz", CHAIN, auxiliary=[1, 1, 1, 1])
    arrays = {**model(noise=5), "predicted_auxiliary": np.array([9.0, 9, 9, 9])}
    write(tmp_path / "representation.npz", arrays)
    assert run(capsys, tmp_path, "--json", tmp_path / "out.json")[0] == 3
    report = json.loads((tmp_path / "out.json").read_text())
    assert report["verdict"] == "hypothesis-not-met"
    assert report["conclusion"]["min_distance"] is None
    write(tmp_path / "representation.npz", {**model(), "predicted_auxiliary": np.ones(4)})
    assert run(capsys, tmp_path)[0] == 0


def test_json_is_strict_where_numbers_are_not_finite(tmp_path, capsys):
    write(tmp_path / "transitions.npz", CHAIN)
    write(tmp_path / "representation.npz", model(EMBEDDING * 0))
    assert run(capsys, tmp_path, "--json", tmp_path / "out.json")[0] == 1

    def refuse(word):
        raise AssertionError(word)

    report = json.loads((tmp_path / "out.json").read_text(), parse_constant=refuse)
    assert report["hypothesis"]["levels"][0]["residual_ratio"] is None


def test_a_full_device_is_an_error_and_not_a_verdict(tmp_path):
    path = write(tmp_path / "d.npz", CHAIN)
    code = f"import sys; from bisim_theory.cli import main; sys.exit(main([{str(path)!r}]))"
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("bisim-check: error: ")
    assert done.stderr.count("\n") == 1


def test_a_pair_is_looked_at_with_its_witness(tmp_path, capsys):
    write(tmp_path / "transitions.npz", CHAIN)
    status, out, _ = run(capsys, tmp_path, "--pair", 0, 1, "--pair", 2, 2, "--json", tmp_path / "out.json")
    assert status == 0
    assert "Pair 0, 1: distinguished at level 3, p differs after actions [1, 1]" in out
    assert "Pair 2, 2: bisimilar; a well-trained model may merge it" in out
    first, second = json.loads((tmp_path / "out.json").read_text())["pairs"]
    assert first == {"pair": [0, 1], "level": 3, "witness": [1, 1], "cannot_collapse": True}
    assert second == {"pair": [2, 2], "level": 0, "witness": None, "cannot_collapse": False}


def test_wanted_labels_choose_an_auxiliary_function(tmp_path, capsys):
    chain = {name: value for name, value in CHAIN.items() if name != "auxiliary"}
    long = "a label of a very long name that has a line of its own"
    path = write(tmp_path / "d.npz", chain, reward=[0, 0, 1, 1], count=[0, 1, 2, 3], **{long: [0, 1, 0, 1]})
    options = ["--want", f"count,{long}", "--json", tmp_path / "out.json", "--html", tmp_path / "out.html"]
    status, out, err = run(capsys, path, *options)
    assert (status, err) == (0, "")
    part = out[out.index("Auxiliary functions by what they protect") :].split("\n\n")[0].splitlines()
    assert max(map(len, part)) <= 80
    choice = json.loads((tmp_path / "out.json").read_text())["choice"]
    assert choice["wanted"] == ["count", long]
    assert choice["best"] == "reward"
    first = choice["candidates"][0]
    assert (first["name"], first["share"], first["wanted_labels"]) == ("reward", 1.0, [])
    assert first["protected_pairs_per_level"] == [2, 3, 1]
    assert first["codes_forced"] == {"at_least": 4, "exact": True}
    assert {each["name"] for each in choice["candidates"] if each["wanted_labels"]} == {"count", long}
    assert choice["unprotected"]["without_labels"]["pairs"] == 0
    assert "reward protects 1.000 of the pairs that differ in count" in " ".join(" ".join(part).split())
    assert "Ranked by the share of these pairs" in (tmp_path / "out.html").read_text()
    model = write(tmp_path / "transitions.npz", CHAIN, count=[0, 0, 1, 1])
    for wrong, said in (("colour", "has no label 'colour'; it has count"), ("count:bins:x", "K of bins:K")):
        status, out, err = run(capsys, model, "--want", wrong)
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert said in err
    status, _, err = run(capsys, model, "--want", "count", "--backend", "duckdb")
    assert status == 2
    assert "use --backend memory" in err


def test_candidates_are_ranked_whatever_the_stored_p_is(tmp_path, capsys):
    """Equal observations have two rewards, so of the stored p no model exists; of the label one does."""
    images = np.zeros((4, 8, 8, 3), np.uint8)
    images[1:, 0, 0] = [[9], [9], [7]]
    arrays = {"source": [0, 0], "action": [0, 1], "successor": [1, 2], "reward": [0.0, 1.0], "place": [0, 1, 1, 2]}
    p = {"observation_auxiliary": [0.0, 0, 1, 0], "observation_auxiliary_known": [False, True, True, False]}
    path = write(tmp_path / "d.npz", arrays, **p, observation=images, metadata='{"auxiliary": "reward"}')
    identity = ("--identity", "content")
    assert run(capsys, path, *identity)[0] == 4
    for question, expected in (("--want", 0), ("--compare", 4)):
        status, out, _ = run(capsys, path, *identity, question, "place")
        assert status == expected
        assert "No well-trained model exists of p = reward: observations 1 and 2 are equal" in out
    assert run(capsys, path, *identity, "--want", "place", "--auxiliary", "reward")[0] == 4
    page = tmp_path / "out.html"
    run(capsys, path, *identity, "--html", page)
    assert "0 \N{NOT EQUAL TO} 1" in page.read_text()
    assert "not observed of both" not in page.read_text()


@pytest.mark.parametrize("backend", ["memory", "duckdb"])
def test_a_model_that_is_named_is_checked_or_refused(tmp_path, capsys, backend):
    ends = {"terminated": [False, False, False, True]}
    chain = {name: value for name, value in CHAIN.items() if name != "auxiliary"} | {"successor": [1, 2, 3, 4]}
    path = write(tmp_path / "d.npz", chain, **ends)
    embedding = np.arange(5.0)[:, None]
    given = write(
        tmp_path / "model.npz",
        {
            "embedding": embedding,
            "predicted_embedding": embedding[1:],
            "predicted_auxiliary": np.zeros(4),
            "predicted_observation_auxiliary": np.array([0.0, 0, 0, 0, 1]),
        },
    )
    options = ("--auxiliary", "terminated", "--representation", given, "--backend", backend)
    assert run(capsys, path, *options)[0] == 0
    status, out, err = run(capsys, path, *options, "--terminal", "absorb")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert f"--representation {given}: cannot be checked; left out is the model, which has no prediction" in err


def test_auxiliary_functions_are_compared_before_any_training(tmp_path, capsys):
    write(tmp_path / "transitions.npz", CHAIN, count=[0, 1, 2, 3])
    write(tmp_path / "representation.npz", model(noise=5))  # it was trained with another p, so it is not used
    status, out, _ = run(capsys, tmp_path, "--compare", "auxiliary,count,constant", "--json", tmp_path / "out.json")
    assert status == 0
    assert "Auxiliary functions compared (4 transitions):" in out
    report = json.loads((tmp_path / "out.json").read_text())
    assert (report["verdict"], report["conclusion"]) == ("relation-only", None)
    found = {each["name"]: each for each in report["comparison"]["candidates"]}
    assert found["auxiliary"]["distinguished_pairs_per_level"] == [3, 2, 1]
    assert found["count"]["distinguished_pairs_per_level"] == [6]
    assert found["constant"]["codes_forced"] == {"at_least": 1, "exact": True}


def test_p_is_chosen_where_the_file_does_not_say(tmp_path, capsys):
    arrays = {name: value for name, value in CHAIN.items() if name != "auxiliary"}
    write(tmp_path / "transitions.npz", arrays, reward=[0.0, 0, 1, 1], count=[0, 1, 2, 3])
    status, out, _ = run(capsys, tmp_path, "--auxiliary", "reward")
    assert status == 0
    assert "Data: 4 transitions" in out
    assert "p of 1 source is unknown" in out  # nothing leads to observation 0
    status, out, _ = run(capsys, tmp_path, "--auxiliary", "reward+count", "--json", tmp_path / "out.json")
    assert json.loads((tmp_path / "out.json").read_text())["distinguished_pairs_per_level"] == [3, 3]
    # A representation goes with it, where the file has no p of its own.
    write(tmp_path / "representation.npz", model())
    status, out, _ = run(capsys, tmp_path, "--auxiliary", "reward")
    assert (status, "Verdict: holds" in out) == (0, True)


def test_tolerances_decide_and_are_printed(tmp_path, capsys):
    write(tmp_path / "transitions.npz", CHAIN)
    write(tmp_path / "representation.npz", model())
    assert run(capsys, tmp_path)[0] == 0
    status, out, _ = run(capsys, tmp_path, "--tolerance", "collapse=0.5", "--tolerance", "transition=0.25")
    assert status == 1  # 1 of the median 3
    assert "compared with 0.25" in out
    assert "collapsed pairs, at most 1.5 apart (collapse=0.5 of the median): 1" in out


def test_estimates_are_called_estimates(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("bisim_theory.relation.compute.MOST_CLASSES", 3)
    rng = np.random.default_rng(0)
    source, action = np.divmod(np.arange(40), 2)
    arrays = {"source": source, "action": action, "successor": rng.integers(20, size=40), "count": np.arange(20)}
    write(tmp_path / "transitions.npz", arrays, auxiliary=(source % 3 == 0).astype(float))
    status, out, _ = run(capsys, tmp_path, "--json", tmp_path / "out.json")
    assert status == 0
    assert "numbers of pairs are estimates from a uniform sample" in out
    assert json.loads((tmp_path / "out.json").read_text())["exact"] is False


@pytest.mark.parametrize(("terminal", "patience", "shown"), [(True, 0, True), (True, 60, False), (False, 0, False)])
def test_the_progress_bar_is_for_people_who_wait(monkeypatch, capsys, terminal, patience, shown):
    monkeypatch.setattr("bisim_theory.progress.PATIENCE", patience)
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal, raising=False)
    with progress_bar("distances") as bar:
        for done in range(5):
            bar(done + 1, 5)
    assert ("distances" in capsys.readouterr().err) == shown


def test_a_pair_with_an_observation_that_is_never_a_source(tmp_path, capsys):
    write(tmp_path / "transitions.npz", {**CHAIN, "successor": [1, 2, 3, 4]})
    status, out, _ = run(capsys, tmp_path, "--pair", 0, 4)
    assert status == 0
    assert "Pair 0, 4: of one the data has neither action nor p, so R and B do not speak of it; it may be" in out


def images_alike():
    """Build data in which observations 0 and 3 have equal images, different p and different labels."""
    images = np.arange(4, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    images[3] = 0
    return {**CHAIN, "observation": images, "count": [0, 1, 2, 5]}


def test_equal_images_that_are_told_apart_are_pointed_out(tmp_path, capsys):
    write(tmp_path / "transitions.npz", images_alike())
    status, out, _ = run(capsys, tmp_path, "--json", tmp_path / "out.json")
    assert status == 0
    assert "distinguished pairs of equal images, which no encoder keeps apart: 1;" in out
    assert json.loads((tmp_path / "out.json").read_text())["look_alike_pairs"] == 1


@pytest.mark.parametrize("images", [True, False])
def test_vectors_are_not_called_images(tmp_path, capsys, images):
    arrays = images_alike()
    if not images:
        arrays["observation"] = arrays["observation"].reshape(4, -1)
    write(tmp_path / "transitions.npz", arrays)
    page = tmp_path / "out.html"
    said = []
    for options in ([], ["--identity", "content", "--fold"], ["--compare", "count,random,constant"]):
        status, out, err = run(capsys, tmp_path, "--html", page, *options)
        assert (status, err) in ((0, ""), (4, ""))
        text = re.sub(r"(?s)<(style|svg).*?</\1>|<img[^>]*>|data:[^\"]*", "", page.read_text())
        said += re.findall(r"(?i)\b(?:image|frame|picture)\w*|\blooks?\b", out + text)
    assert bool(said) == images, said


def test_pairs_and_labels_go_through_the_contents(tmp_path, capsys):
    arrays = {**images_alike(), "auxiliary": [0, 0, 1, 0], "successor": [1, 2, 3, 1]}
    write(tmp_path / "transitions.npz", arrays)
    status, out, _ = run(capsys, tmp_path, "--identity", "content", "--pair", 3, 1)
    assert status == 0
    assert "Pair 3, 1: distinguished at level 3" in out or "Pair 3, 1: distinguished at level 2" in out
    assert "1 sources have the content of one with another count, whose is taken" in out


def test_what_lies_beside_the_data_and_is_not_used_is_named(tmp_path, capsys):
    write(tmp_path / "transitions.npz", CHAIN, count=[0, 1, 2, 3])
    write(tmp_path / "representation.npz", model())
    for options in (("--compare", "count"), ("--auxiliary", "count")):
        status, out, _ = run(capsys, tmp_path, *options)
        assert status == 0
        assert "representation.npz, as a comparison, or another p, says nothing of its model" in out
    assert "p: count" in out


def test_a_fault_of_the_programs_own_is_no_verdict(tmp_path, capsys, monkeypatch):
    write(tmp_path / "transitions.npz", CHAIN)
    monkeypatch.setattr("bisim_theory.analysis.find_conflicts", lambda data: 1 / 0)
    status, _, err = run(capsys, tmp_path)
    assert status == 70
    assert "ZeroDivisionError" in err


def test_a_terminal_without_the_characters_still_gets_the_report(tmp_path):
    write(tmp_path / "transitions.npz", CHAIN, count=[0, 1, 2, 3])
    command = [sys.executable, "-m", "bisim_theory.cli", str(tmp_path), "--compare", "constant"]
    code = "import sys; from bisim_theory.cli import main; sys.exit(main(sys.argv[1:]))"
    command[1:3] = ["-c", code]
    done = subprocess.run(command, capture_output=True, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stderr) == (0, b"")
    closed = subprocess.run(["sh", "-c", 'exec "$@" 2>&-', "sh", *command], capture_output=True)
    assert closed.returncode == 0
