"""What adding one of each thing takes: these files and no other, as the README says."""

import gzip
import hashlib
import json
import re

import numpy as np
import pandas as pd
import pytest
import yaml

PACKAGE = "src/focal_curvature"
NEW = {
    "loss": {
        f"{PACKAGE}/losses/halved.py": '''
"""Cross-entropy times a factor of at most one half."""

from torch import nn
from torch.nn import functional as F

__all__ = ["halved"]
ABOUT = {"halved": {"parameters": {"factor": {"maximum": 0.5, "choose": "to taste"}}}}


class Halved(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, logits, labels):
        return self.factor * F.cross_entropy(logits, labels, reduction="none")


def halved(factor):
    return Halved(factor)
'''
    },
    "model": {
        f"{PACKAGE}/models/bare.py": '''
"""One hidden layer."""

from torch import nn

__all__ = ["bare"]
ABOUT = {"bare": {"cost": 0.01, "least_size": 2}}


def bare(classes, channels, size):
    return nn.Sequential(
        nn.Flatten(), nn.Linear(channels * size**2, 6), nn.ReLU(), nn.Linear(6, classes)
    )
'''
    },
    "regulariser": {
        f"{PACKAGE}/regularisers/small_weights.py": '''
"""The squared norm of the weights."""

__all__ = ["small_weights"]
ABOUT = {
    "small_weights": {
        "label": "small weights",
        "steps": 1,
        "parameters": {"strength": {"exclusiveMinimum": 0, "choose": "to taste"}},
    }
}


def small_weights(strength):
    def descend(networks, loss, images, labels, reduction, generators, step):
        losses = loss(networks(images).flatten(0, 1), labels.flatten()).view(networks.size, -1)
        blocks = [p.reshape(networks.size, -1) for p in networks.model.parameters()]
        squares = sum(block.square().sum(1) for block in blocks)
        totals = getattr(losses, reduction)(dim=1) + strength * squares
        totals.sum().backward()
        return {"loss": totals.detach(), "squared_norm": squares.detach()}

    return descend
'''
    },
    "table": {
        f"{PACKAGE}/tables/sizes.py": '''
"""How large the models are."""

PRODUCT = {"needs": ("runs",)}


def prepare(tables):
    return tables["runs"].groupby("model")["parameters"].first().reset_index()


def printed(table):
    return table.rename(columns={"model": "Model", "parameters": "Parameters"}).astype(str)
''',
        "workflow/report/tables/sizes.rst": "**Sizes** of {{ snakemake.config['experiment'] }}.\n",
    },
    "figure": {
        f"{PACKAGE}/plotting/accuracies.py": '''
"""Accuracy by seed."""

from focal_curvature.plotting.common import panels

PRODUCT = {"needs": ("runs",)}


def prepare(tables):
    return tables["runs"][["seed", "accuracy"]]


def draw(data):
    figure, axes = panels([""], [""], 2)
    axes[0][0].plot(data["seed"], data["accuracy"], "o")
    return figure
''',
        "workflow/report/figures/accuracies.rst": "**Accuracies.**\n",
    },
    "stage": {
        f"{PACKAGE}/stages/norms.py": '''
"""The norm of the weights of trained runs."""

from dataclasses import dataclass

from focal_curvature.stages import Stage, StageSettings

TABLES = {"norms": ["model", "objective", "gamma", "seed", "norm"]}


@dataclass(frozen=True, kw_only=True)
class Norms(StageSettings):
    """The norm of the weights."""


def measure(work, settings):
    return {
        "norms": [
            run.keys | {"norm": float(sum(w.square().sum() for w in run.weights().values()))}
            for run in work.completed
        ]
    }


STAGE = Stage(Norms, TABLES, measure, "Take norms")
''',
        f"{PACKAGE}/tables/norms.py": '''
"""The norms of the weights."""

PRODUCT = {"needs": ("norms",)}


def prepare(tables):
    return tables["norms"]


def printed(table):
    return table.astype(str)
''',
        "workflow/report/tables/norms.rst": "**Norms.**\n",
    },
    "kind of test": {
        f"{PACKAGE}/claim_tests/positive.py": '''
"""Whether the mean of a measure over seeds is positive."""

from focal_curvature.analysis.evidence import Data, Evidence, Part, Unit, mean_over_seeds
from focal_curvature.analysis.questions import Kind, gammas, known, wide

__all__ = ["positive"]

KEYS = {
    "measures": {"$ref": "#/$defs/measures"},
    "hessian_of": {"$ref": "#/$defs/hessian_of"},
    "direction": {"$ref": "#/$defs/direction"},
    "smallest_effect": {"$ref": "#/$defs/fraction"},
}
OPTIONAL = []


def positive():
    return Kind("mean", Unit("nats", "{:+.2f}"), data, test)


def data(runs, question):
    column = question.curvature
    rows = known(runs, [column])
    least = question.rules["minimum_seeds"]
    arrays, levels, note = wide(rows, [column], gammas(rows), least)
    return Data(arrays, arrays[column].size, levels, note)


def test(data, question, generator):
    mean = mean_over_seeds(data.arrays[question.curvature].mean(axis=1))
    part = Part("mean", mean.estimate, mean.error)
    return Evidence(mean.estimate, mean.low, mean.high, mean.p, parts=(part,))
'''
    },
}
CLAIM = """
  positive_trace:
    family: C9
    says: the {measure} is positive
    test: positive
    measures: [trace]
    hessian_of: [cross_entropy]
    direction: rises
    smallest_effect: 0.001
"""
# A score and a data set are lines of files that are there; so is a claim.
SCORES, SOURCES, CLAIMS = (
    f"{PACKAGE}/calibration/scores.py",
    f"{PACKAGE}/data/sources.csv",
    "workflow/claims.yaml",
)
CONFIG = {
    "experiment": "adding",
    "device": "cpu",
    "data": {"name": "squares", "validation": 30, "directories": ["archives"]},
    "models": {"bare": {}},
    "objectives": {"focal": {"gamma": [0, 2]}, "halved": {"factor": [0.25]}},
    "regularisers": {"small_weights": {"strength": [0.001]}},
    "seeds": [0, 1, 2, 3, 4],
    "training": {"epochs": 2, "batch_size": 20, "learning_rate": 0.05},
    "curvature": {"estimator": "engine", "samples": 30},
    "norms": {"objectives": ["ce", "small_weights"], "seeds": [1]},
    "jobs": {"train": "cell", "curvature": "model", "calibration": "model"},
}


# What is added, and what tells of it; test_smoke.py makes all that an experiment has.
COMMAND = ("--configfile", "adding.yaml", "--")
WANTED = [
    f"paper_figures/adding/{file}"
    for file in (
        *("runs.csv", "histories.csv", "claims.json", "accuracies.pdf"),
        *(f"tables/{table}.csv" for table in ("summary", "sizes", "norms")),
    )
]


def write(checkout, files):
    for name, text in files.items():
        (checkout.folder / name).write_text(text.lstrip("\n"))


def change(checkout, name, old, new):
    file = checkout.folder / name
    text = file.read_text()
    assert text.count(old) == 1, (name, old)
    file.write_text(text.replace(old, new))


def add_score(checkout):
    change(checkout, SCORES, "    accuracy: float\n", "    accuracy: float\n    error: float\n")
    score = "        accuracy=float(correct.mean()),\n"
    change(checkout, SCORES, score, score + "        error=float(1 - correct.mean()),\n")


def add_data(checkout):
    """Four archives in LeCun's format: their rows, of which the first has what is true of all."""
    generator = np.random.default_rng(0)
    folder = checkout.folder / "archives"
    folder.mkdir()
    rows = []
    for pool, count in (("train", 90), ("test", 60)):
        labels = np.arange(count, dtype=np.uint8) % 2
        noise = generator.integers(0, 100, (count, 4, 4))
        images = (noise + 100 * labels[:, None, None]).astype(np.uint8)
        for name, array in (("images", images), ("labels", labels)):
            shape = b"".join(n.to_bytes(4, "big") for n in array.shape)
            content = bytes([0, 0, 8, array.ndim]) + shape + array.tobytes()
            file = folder / f"{pool}-{name}.gz"
            file.write_bytes(gzip.compress(content))
            digest = hashlib.sha256(content).hexdigest()
            facts = "idx,4,150,255,dark|light" if not rows else ",,,,"
            rows.append(f"squares,{file.name},content,{digest},{len(content)},,test,{facts}")
    with (checkout.folder / SOURCES).open("a") as stream:
        stream.write("\n".join(rows) + "\n")


@pytest.fixture(scope="session")
def finished(checkout_factory):
    checkout = checkout_factory()
    for files in NEW.values():
        write(checkout, files)
    add_score(checkout)
    add_data(checkout)
    with (checkout.folder / CLAIMS).open("a") as stream:
        stream.write(CLAIM)
    (checkout.folder / "adding.yaml").write_text(yaml.safe_dump(CONFIG))
    checkout.snakemake("--cores", "2", *COMMAND, *WANTED)
    return checkout


@pytest.fixture
def products(finished):
    return finished.folder / "paper_figures/adding"


def test_one_file_each_and_a_caption_for_what_is_shown():
    for kind, files in NEW.items():
        code = [file for file in files if file.endswith(".py")]
        captions = [file for file in files if file.endswith(".rst")]
        assert len(code) == (2 if kind == "stage" else 1)
        assert len(captions) == (kind in ("table", "figure", "stage"))
        assert len(files) == len(code) + len(captions)


def test_a_loss_a_model_a_regulariser_a_data_set_and_a_score_make_runs(products):
    runs = pd.read_csv(products / "runs.csv")
    assert set(runs["dataset"]) == {"squares"}
    assert set(runs["model"]) == {"bare"}
    objectives = {"ce", "focal-2", "halved-0.25", "ce-small_weights-0.001"}
    assert set(runs["objective"]) == objectives
    assert (runs["status"] == "completed").all()
    assert runs["error"].tolist() == pytest.approx((1 - runs["accuracy"]).tolist())
    assert "squared_norm" in pd.read_csv(products / "histories.csv")
    assert "error" in set(pd.read_csv(products / "tables/summary.csv")["metric"])


def test_products_are_made_counted_and_reported(products, finished):
    assert pd.read_csv(products / "tables/sizes.csv")["parameters"].tolist() == [16 * 6 + 6 + 14]
    assert (products / "tables/sizes.tex").exists()
    assert (products / "accuracies.pdf").exists()
    norms = pd.read_csv(products / "tables/norms.csv")
    assert set(norms["objective"]) == {"ce", "ce-small_weights-0.001"}
    cost = "paper_figures/adding/tables/cost.csv"
    graph = finished.snakemake("--rulegraph", *COMMAND, cost).stdout
    rules = dict(re.findall(r'(\d+)\[label = "(\w+)"', graph))
    edges = re.findall(r"(\d+) -> (\d+)", graph)
    counted = {rules[before] for before, after in edges if rules[after] == "cost"}
    assert {"norms", "tables_sizes", "figures_accuracies"} <= counted
    finished.snakemake("--report", "report.html", *COMMAND, *WANTED)
    page = (finished.folder / "report.html").read_text()
    for words in ("of adding", "Accuracies.", "Norms."):
        assert words in page


def test_a_kind_of_test_judges(products):
    rows = json.loads((products / "claims.json").read_text())["claims"]
    verdicts = {row["model"]: row["verdict"] for row in rows if row["claim"] == "positive_trace"}
    assert verdicts["bare"] == "supported"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"objectives": {"halved": {"factor": [0.7]}}}, "factor[0]: 0.7 is too large"),
        ({"regularisers": {"small_weights": {"strength": [0]}}}, "strength[0]: 0 is too small"),
        ({"data": {"name": "letters", "validation": 9}}, "models.bare: takes images of at least 2"),
    ],
)
def test_what_they_do_not_take_is_refused_before_any_job(finished, changes, words):
    (finished.folder / "bad.yaml").write_text(yaml.safe_dump(CONFIG | changes | {"norms": None}))
    done = finished.snakemake("-n", "--configfile", "bad.yaml", check=False)
    assert done.returncode == 1
    assert words in done.stdout
