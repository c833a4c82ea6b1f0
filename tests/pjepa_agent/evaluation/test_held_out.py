import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from bisim_theory import Representation, Tolerance, check_theorem, empirical_bisimulation
from pjepa_agent.auxiliary import Auxiliary
from pjepa_agent.collection.dataset import collect_dataset
from pjepa_agent.config.schema import EvaluationConfig
from pjepa_agent.evaluation.held_out import HeldOut
from pjepa_agent.evaluation.theorem import PAIRS, represent
from pjepa_agent.model import PJEPA
from pjepa_agent.run import train_run
from pjepa_agent.runs.directory import RunDirectory
from pjepa_agent.training import Trainer

LEVELS = range(1, 6)


@pytest.fixture
def held_out(tiny):
    return HeldOut(tiny())


def test_the_data_is_fixed_by_the_seed_and_no_part_is_another(tiny, held_out):
    again, other = HeldOut(tiny()), HeldOut(dataclasses.replace(tiny(), seed=1))
    np.testing.assert_array_equal(again.images, held_out.images)
    assert (other.images != held_out.images).any()
    trained = collect_dataset(tiny())
    seen = {image.tobytes() for image in trained.observation[: trained.frames] if image.any()}
    unseen = held_out.transitions.data
    for images in (held_out.images, unseen.observation[: unseen.frames]):
        new = {image.tobytes() for image in images if image.any()}
        assert not new & seen
        seen |= new


def test_unseen_transitions_go_deeper_than_those_of_the_training(held_out):
    data, relation = held_out.transitions.data, held_out.transitions.relation
    assert len(data) == 120
    assert np.bincount(data.episode).max() > 4
    assert len(relation.distinguished_pairs_per_level) == 5
    counts = data.labels["count"]
    assert (data.auxiliary == (counts[data.source] == 4)).all()


def test_metrics_of_a_model_that_knows_the_count(held_out):
    """An encoder, a dynamics and a head as Theorem 1 asks for them."""

    class Perfect:
        as_arrays = PJEPA.as_arrays

        def encode(self, images):
            # The number of objects of an image, from the labels of whoever holds it.
            return torch.tensor([[known[image.tobytes()], 0.0] for image in np.asarray(images)])

        def predict(self, embedding, action):
            step = np.where(np.asarray(action)[:, 0] >= 0, 1, -1)
            count = np.clip(np.asarray(embedding)[:, 0] + step, 0, 8)
            return torch.tensor(np.stack([count, 0 * count], 1))

        def auxiliary(self, embedding):
            return torch.tensor(1.0 * (np.asarray(embedding)[:, 0] == 4))

        def auxiliary_loss(self, embedding, value):
            return float(np.square(self.auxiliary(embedding).numpy() - value).mean())

    data = held_out.transitions.data
    known = {
        image.tobytes(): float(count)
        for images, counts in (
            (held_out.images, held_out.counts),
            (data.observation[: data.frames], data.labels["count"]),
        )
        for image, count in zip(images, counts, strict=True)
    }
    row = held_out.measure(Perfect())
    assert row["eval/nearest_centroid_accuracy"] == 1
    assert row["eval/between_within_variance"] == math.inf
    assert row["eval/auxiliary_loss"] == row["eval/transition_error"] == row["theorem/collapsed_pairs"] == 0
    assert [row[f"theorem/separation_{level}"] for level in LEVELS] == [1] * 5
    assert [row[f"theorem/residual_ratio_{level}"] for level in LEVELS] == [0] * 5
    assert [row[f"theorem/explained_share_{level}"] for level in LEVELS] == [1] * 5


def test_a_collapsed_encoder_collapses_distinguished_pairs(tiny, held_out):
    model = PJEPA(tiny())
    with torch.no_grad():
        model.encoder.proj.weight.zero_()
    row = held_out.measure(model)
    relation = empirical_bisimulation(held_out.transitions.data)
    assert row["theorem/collapsed_pairs"] == relation.distinguished_pairs
    assert row["theorem/certified_share"] == relation.certified_share(held_out.transitions.data.labels["count"])
    assert [row[f"theorem/separation_{level}"] for level in LEVELS] == [0.5] * 5
    assert [row[f"theorem/explained_share_{level}"] for level in LEVELS] == [0] * 5
    assert math.isnan(row["eval/transition_error"])
    assert math.isnan(row["eval/within_across_ratio"])


def test_the_explained_shares_are_those_of_the_check(tiny, held_out):
    model = PJEPA(tiny())
    transitions = held_out.transitions
    check = check_theorem(transitions.relation, represent(transitions.data, model), Tolerance(sample=PAIRS))
    row = transitions.measure(model)
    expected = [level.explained.share for level in check.levels[: max(LEVELS)]]
    assert [row[f"theorem/explained_share_{level}"] for level in LEVELS] == expected


def test_an_encoder_that_is_not_finite_has_no_numbers_and_stops_nothing(tiny, held_out):
    model = PJEPA(tiny())
    with torch.no_grad():
        model.encoder.proj.bias.fill_(torch.nan)
    row = held_out.measure(model)
    assert math.isnan(row["theorem/separation_1"])
    assert math.isnan(row["theorem/explained_share_1"])
    assert "silhouette" not in held_out.measure_all(model)


def test_the_transition_error_by_its_definition_and_without_scale(tiny, held_out):
    data = held_out.transitions.data
    representation = represent(data, PJEPA(tiny()))
    source, z, predicted = data.labels["count"][data.source], representation.embedding, representation
    errors = np.square(predicted.predicted_embedding - z[data.successor]).sum(1)
    groups = [np.flatnonzero(source == count) for count in np.unique(source)]
    centre = np.mean([z[data.successor[rows]].mean(0) for rows in groups], 0)
    spread = np.mean([np.square(z[data.successor[rows]] - centre).sum(1).mean() for rows in groups])
    expected = np.mean([errors[rows].mean() for rows in groups]) / spread
    assert held_out.transitions.transition_error(representation) == pytest.approx(expected, rel=1e-4)
    shrunk = (1e-3 * each.astype(np.float64) + 2 for each in (z, representation.predicted_embedding))
    smaller = Representation(*shrunk, representation.predicted_auxiliary)
    assert held_out.transitions.transition_error(smaller) == pytest.approx(expected, rel=1e-4)
    constant = np.broadcast_to(centre, representation.predicted_embedding.shape)
    assert held_out.transitions.transition_error(
        Representation(z, constant, representation.predicted_auxiliary)
    ) == pytest.approx(1)


def test_a_random_map_keeps_the_scale_that_it_has_in_training(tiny, tmp_path):
    config = tiny("random")
    data = collect_dataset(config)
    auxiliary = Auxiliary(config)
    auxiliary.restore(data)
    values = auxiliary(data.observation, data.labels)
    np.testing.assert_array_equal(values[data.source], data.auxiliary)
    run = RunDirectory.create(tmp_path / "run", config)
    held_out = Trainer(config, run, data, torch.device("cpu")).held_out
    images = held_out.images[held_out.scored]
    np.testing.assert_allclose(held_out._values, auxiliary(images, {}), atol=1e-6)


def test_the_untrained_model_is_the_one_that_the_run_began_with(tiny, tmp_path):
    run = RunDirectory.create(tmp_path / "run", tiny())
    torch.manual_seed(99)
    untrained = PJEPA.untrained(tiny())
    assert torch.initial_seed() == 99
    began = Trainer(tiny(), run, collect_dataset(tiny()), torch.device("cpu")).model
    assert all(torch.equal(value, untrained.state_dict()[name]) for name, value in began.state_dict().items())


def test_a_run_reports_its_held_out_measures_beside_the_untrained_encoders(tiny, tmp_path):
    size = EvaluationConfig(every=12, reference_per_count=4, scored_per_count=20, transitions=60, probe_per_count=16)
    config = dataclasses.replace(tiny(), evaluation=size)
    run = RunDirectory.create(tmp_path / "run", config)
    report = train_run(run, config, "cpu")
    assert json.loads(run.report.read_text()) == report
    header, first, last = (line.split(",") for line in run.metrics.read_text().splitlines())
    for name, row in (("untrained", first), ("trained", last)):
        found = report["held_out"][name]
        for column, text in zip(header, row, strict=True):
            if column.startswith(("eval/", "theorem/")):
                value = found[column.removeprefix("eval/").replace("theorem/", "theorem_")]
                assert text == "nan" if value is None else float(text) == pytest.approx(value, rel=1e-4), column
        assert found["lidar"] >= 1
        assert -1 <= found["silhouette"] <= 1
        assert set(found["linear_probe"]) == set(found["mlp_probe"]) == set(found["chance"])
        assert set(found["chance"]) == {"count", "shape", "color", "position", "occupancy"}
