"""Scores under shift: the stage on networks that are known, its table, what it refuses."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from focal_curvature.calibration import measure as measure_scores
from focal_curvature.calibration.scores import essentials
from focal_curvature.data import arrays, splits
from focal_curvature.files import sha256
from focal_curvature.settings.curvature import Curvature
from focal_curvature.stages import shift
from focal_curvature.stages.work import Work
from focal_curvature.tables import shift as table

RNG = np.random.default_rng(0)


@dataclass(frozen=True)
class Network:
    """A run whose logits are a fixed function of the image's mean, over-confident by 3."""

    folder: str
    seed: int
    completed: bool = True
    spec = SimpleNamespace(data=None)

    @property
    def keys(self):
        return {"model": "m", "objective": "ce", "gamma": 0, "seed": self.seed}

    @cached_property
    def network(self):
        linear = nn.Linear(36, 2)
        with torch.no_grad():
            linear.weight[:] = torch.tensor([-1.0, 1.0])[:, None] / 12 * 3
            linear.bias[:] = 0
        return nn.Sequential(nn.Flatten(), linear)

    def model(self, data, device):
        return self.network

    def logits(self):
        rng = np.random.default_rng(self.seed)
        margin = rng.normal(0, 2, 4000)
        labels = (rng.random(4000) < 1 / (1 + np.exp(-margin))).astype(int)
        logits = 1.5 * np.stack([-margin, margin], axis=1)
        return {"validation_logits": logits, "validation_labels": labels}


@pytest.fixture
def work(tmp_path):
    """Dark and light images that overlap, a split of them, and two runs."""
    labels = np.arange(600) % 2
    images = RNG.normal(100 + 40 * labels[:, None, None, None], 60, (600, 1, 6, 6))
    arrays.write(
        tmp_path / "data",
        name="own",
        images=images.clip(0, 255).astype(np.uint8),
        labels=labels,
        classes=["dark", "light"],
        pools={"all": [0, 600]},
        scale=255,
        sources=[],
    )
    indices = splits.split(
        arrays.read(tmp_path / "data"), train=200, validation=100, test=300, seed=0
    )
    splits.write(tmp_path / "splits.json", indices)
    return Work(
        runs=[Network("a", 0), Network("b", 1), Network("c", 2, completed=False)],
        dataset=tmp_path / "data",
        splits=tmp_path / "splits.json",
        device=torch.device("cpu"),
        curvature=Curvature(),
        bins=15,
    )


def test_every_run_is_scored_under_every_condition(work):
    rows = pd.DataFrame(shift.measure(work, shift.Shift())["shift"])
    assert list(rows.columns) == shift.TABLES["shift"]
    assert len(rows) == 2 * 26
    assert set(rows["seed"]) == {0, 1}
    assert (rows["samples"] == 300).all()
    # fitted on the validation logits, three times too large, whatever the condition
    assert rows.groupby("seed")["temperature"].nunique().max() == 1
    assert rows["temperature"].to_numpy() == pytest.approx(3, rel=0.1)
    clean = rows[rows["shift"] == "none"].iloc[0]
    test = work.data.splits["test"]
    logits = Network("a", 0).network(test.images).double().detach()
    values = torch.log_softmax(logits, dim=1).numpy()
    expected = measure_scores(values, test.labels.numpy())
    for score in shift.SCORES:
        assert clean[score] == pytest.approx(getattr(expected, score), abs=1e-9), score
    # brightness moves every prediction towards "light"
    bright = rows[(rows["shift"] == "brightness") & (rows["seed"] == 0)]
    assert bright.sort_values("severity")["accuracy"].is_monotonic_decreasing
    assert bright["accuracy"].iloc[-1] < clean["accuracy"] - 0.1
    assert rows["nll_refinement"].to_numpy() == pytest.approx(
        rows["nll_refinement_scaled"], abs=1e-9
    )


def test_another_test_set_is_matched_by_names(work, tmp_path):
    own = arrays.read(work.dataset)
    test = splits.read(work.splits)["test"]
    source = tmp_path / "other.npz"
    names = np.array(["light" if k else "dark" for k in own.labels[test]])
    np.savez(source, inputs=own.images[test], labels=names)
    settings = shift.Shift(test_samples=100, test_set=str(source), test_set_sha256=sha256(source))
    assert list(settings.problems([])) != []  # no runs
    rows = pd.DataFrame(shift.measure(work, settings)["shift"]).set_index("shift")
    assert rows.loc["none", "samples"].tolist() == [100, 100]
    assert rows.loc["test_set", "samples"].tolist() == [300, 300]
    whole = pd.DataFrame(shift.measure(work, shift.Shift())["shift"]).set_index("shift")
    found, expected = (each.loc[key].iloc[0] for each, key in ((rows, "test_set"), (whole, "none")))
    assert found["nll"] == pytest.approx(expected["nll"], rel=1e-4)


@pytest.mark.parametrize(
    ("inputs", "labels", "message"),
    [
        (np.zeros((9, 1, 5, 5), np.uint8), ["dark", "light", "dark"] * 3, "the data are uint8"),
        (np.zeros((9, 1, 6, 6)), ["dark", "light", "dark"] * 3, "float32 .* the data are uint8"),
        (np.zeros((9, 1, 6, 6), np.uint8), ["dark", "red", "dark"] * 3, "class red is none of"),
    ],
)
def test_another_test_set_that_does_not_fit(work, tmp_path, inputs, labels, message):
    source = tmp_path / "other.npz"
    np.savez(source, inputs=inputs, labels=np.array(labels))
    with pytest.raises(ValueError, match=message):
        shift._other(work, source, sha256(source))
    with pytest.raises(ValueError, match="expected sha256 0000"):
        shift._other(work, source, "0" * 64)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"test_set": "a.npz"}, "goes together with test_set_sha256"),
        ({"test_set_sha256": "0" * 64}, "goes together with test_set_sha256"),
        ({"test_set": "gone.npz", "test_set_sha256": "0" * 64}, "gone.npz is no .npz file"),
        ({"test_set": __file__, "test_set_sha256": "0" * 64}, "is no .npz file"),
    ],
)
def test_settings_that_do_not_go_together(settings, message):
    assert any(message in line for line in shift.Shift(**settings).problems([]))


def test_the_table_averages_kinds_within_a_run_and_then_over_runs(work):
    rows = pd.DataFrame(shift.measure(work, shift.Shift())["shift"])
    found = table.prepare({"shift": rows}).set_index([*table.KEYS, "metric"])
    cell = found.loc[("m", "ce", "corruptions", 5, "ece")]
    assert cell["n"] == 2
    worst = rows[rows["severity"] == 5]
    assert cell["mean"] == pytest.approx(worst["ece"].mean())
    printed = table.printed(found.reset_index())
    assert list(printed["Shift"]) == ["none"] + ["corruptions"] * 5
    assert list(printed["Severity"]) == ["-", 1, 2, 3, 4, 5]


def test_changes_are_paired_with_cross_entropy_by_seed_and_condition(work):
    rows = pd.DataFrame(shift.measure(work, shift.Shift())["shift"])
    steps = {0: 0.1, 1: 0.3}  # by seed: rows in another order must find their own
    focal = rows.sample(frac=1, random_state=0).assign(objective="focal-3")
    focal["ece"] += focal["seed"].map(steps) * focal["severity"]
    found = table.prepare({"shift": pd.concat([rows, focal], ignore_index=True)})
    changes = found[found["metric"] == "ece_change"]
    assert set(changes["objective"]) == {"focal-3"}
    assert changes["mean"].to_numpy() == pytest.approx(0.2 * changes["severity"])
    assert (changes["n"] == 2).all()
    printed = table.printed(found)
    assert set(printed.loc[printed["Objective"] == "ce", "ECE, change from CE (points)"]) == {"-"}
    alone = table.prepare({"shift": focal})
    assert not alone["metric"].str.endswith("_change").any()


def test_essentials_are_the_scores_of_the_same_names():
    logits = RNG.normal(size=(500, 4)) * 3
    values = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    labels = RNG.integers(0, 4, 500)
    scores = measure_scores(values, labels)
    for name, value in essentials(values, labels, 15).items():
        assert value == pytest.approx(getattr(scores, name), abs=1e-12), name
