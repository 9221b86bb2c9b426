"""An experiment goes on from what another machine has finished, without its weights."""

import shutil
import subprocess
import sys

import pandas as pd
import pytest
import yaml
from checkout import ROOT

CONFIG = {
    "experiment": "elsewhere",
    "device": "cpu",
    "data": {"name": "digits", "train": 100, "validation": 100},
    "models": {"small_cnn": {}},
    "objectives": {"focal": {"gamma": [0]}},
    "training": {"epochs": 1, "batch_size": 20, "learning_rate": 0.05},
    "curvature": {"estimator": "engine", "samples": 20},
    "controls": {"objectives": ["ce"], "factors": [2]},
    "shift": {"objectives": ["focal"], "test_samples": 20},
    "jobs": {kind: "run" for kind in ("train", "curvature", "calibration", "stages")},
}
TABLES = ("runs", "histories", "reliability")
COMMAND = ("--cores", "2", "--configfile", "elsewhere.yaml")
PAPER = "paper_figures/elsewhere"
WANTED = (f"{PAPER}/runs.csv", f"{PAPER}/tables/controls.csv", f"{PAPER}/tables/shift.csv")


def asked(checkout, seeds):
    CONFIG["seeds"] = CONFIG["controls"]["seeds"] = CONFIG["shift"]["seeds"] = seeds
    (checkout.folder / "elsewhere.yaml").write_text(yaml.safe_dump(CONFIG))
    return checkout


@pytest.fixture(scope="module")
def here(checkout_factory):
    checkout = asked(checkout_factory(), [0])
    checkout.snakemake(*COMMAND, "--", *WANTED)
    return checkout.folder


@pytest.fixture(scope="module")
def there(checkout_factory, here):
    checkout = asked(checkout_factory(), [0, 1])
    variables = ["EXPERIMENT=elsewhere", f"PACKED={here}/finished.tar.xz", f"VENV={sys.prefix}"]
    for target, folder in (("pack", here), ("unpack", checkout.folder)):
        shutil.copy2(ROOT / "Makefile", folder)
        arguments = "ARGS=--configfile elsewhere.yaml"
        command = ["make", "-o", "install", target, *variables, arguments]
        subprocess.run(command, cwd=folder, check=True)
    return checkout


@pytest.fixture(scope="module")
def finished(there):
    planned = there.planned(*COMMAND, "--", *WANTED)
    there.snakemake(*COMMAND, "--", *WANTED)
    return there, planned


def test_what_is_finished_is_kept_and_the_rest_is_made(here, finished):
    there, planned = finished
    stages = ("train", "curvature", "calibration", "shift", "controls")
    assert {rule: planned.get(rule) for rule in stages} == dict.fromkeys(stages, 1)
    assert "dataset" not in planned and "splits" not in planned
    assert there.planned(*COMMAND, "--", *WANTED) == {}
    before, after = (folder / PAPER for folder in (here, there.folder))
    for name in TABLES:
        old, new = (pd.read_csv(folder / f"{name}.csv") for folder in (before, after))
        assert set(new["seed"]) == {0, 1}
        pd.testing.assert_frame_equal(new[new["seed"] == 0].reset_index(drop=True), old)
    records = there.folder / "results/elsewhere/benchmarks"
    assert len([*records.glob("train/**/*.tsv")]) == 2, "what the other machine spent counts"


@pytest.mark.parametrize("stage", ["controls", "shift"])
def test_stages_by_run_and_by_model_find_the_same(finished, stage):
    there, _ = finished
    folder = f"results/elsewhere/{stage}/small_cnn"
    files = sorted(there.folder.glob(f"{folder}/*/seed*/{stage}.csv"))
    assert len(files) == 2
    by_run = pd.concat(map(pd.read_csv, files))
    model = f"{folder}/{stage}.csv"
    there.snakemake(*COMMAND, "--config", "jobs={stages: model}", "--", model)
    tables = (by_run, pd.read_csv(there.folder / model))
    by_run, by_model = (table.sort_values([*by_run][:6]).reset_index(drop=True) for table in tables)
    pd.testing.assert_frame_equal(by_run, by_model, check_exact=True)
