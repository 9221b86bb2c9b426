"""One finished smoke run, and what Snakemake plans after each kind of change."""

import json
import re
import shutil
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest
import torch
from checkout import Checkout
from filelock import FileLock

SMOKE = ("--configfile", "config/smoke.yaml")


class Copy(Checkout):
    """Of a checkout with its results, their times and Snakemake's records."""

    def __init__(self, source, folder):
        self.folder = shutil.copytree(source, folder, symlinks=True)


@pytest.fixture(scope="session")
def finished(checkout_factory, tmp_path_factory, worker_id):
    """Made once; each of xdist's processes has a copy, which its tests edit."""
    ours = tmp_path_factory.getbasetemp()
    first = (ours if worker_id == "master" else ours.parent) / "smoke"
    with FileLock(f"{first}.lock"):
        if not first.exists():
            checkout = checkout_factory()
            checkout.snakemake("--cores", "2", *SMOKE)
            checkout.folder.rename(first)
    return Copy(first, tmp_path_factory.mktemp("smoke") / "copy")


@contextmanager
def edited(file, change):
    before = file.read_text()
    after = change(before)
    assert after != before
    file.write_text(after)
    try:
        yield
    finally:
        file.write_text(before)


def test_every_file_is_the_output_the_log_or_the_benchmark_of_a_rule(finished):
    known = set(finished.snakemake("--summary", *SMOKE, check=True).stdout.splitlines()[1:])
    outputs = {line.split("\t")[0] for line in known}
    made = [
        str(file.relative_to(finished.folder))
        for top in ("results", "paper_figures")
        for file in (finished.folder / top).rglob("*")
        if file.is_file()
    ]
    others = [f for f in made if f not in outputs and not f.endswith((".log", ".tsv"))]
    assert not others
    assert sum(f.endswith("logits.npz") for f in made) == 4


def test_a_second_run_has_nothing_to_do(finished):
    assert finished.planned(*SMOKE) == {}


def test_tables_hold_every_run(finished):
    runs = pd.read_csv(finished.folder / "paper_figures/smoke/runs.csv")
    assert sorted(zip(runs["gamma"], runs["seed"], strict=True)) == [(0, 0), (0, 1), (2, 0), (2, 1)]
    assert (runs["status"] == "completed").all()
    # Whether an estimate converged is not said of PyHessian's, of a fixed number of probes.
    assert runs.filter(regex="^trace_(?!.*converged)").notna().all(axis=None)
    assert runs["test_samples"].eq(200).all()


def test_the_cost_of_every_job_is_counted(finished):
    files = (finished.folder / "results").rglob("*.tsv")
    seconds = {file: pd.read_csv(file, sep="\t")["s"].iloc[-1] for file in files}
    rules = set()
    for file in seconds:
        at = file.relative_to(finished.folder / "results").parts
        rules.add(at[2].removesuffix(".tsv") if at[1] == "benchmarks" else file.stem)
    table = pd.read_csv(finished.folder / "paper_figures/smoke/tables/cost.csv")
    # The table's own job is not over while it is written.
    assert set(table["stage"]) == rules - {"cost"}
    counted = [value for file, value in seconds.items() if file.stem != "cost"]
    assert table["jobs"].sum() == len(counted)
    assert table["wall_s"].sum() == pytest.approx(sum(counted))


def test_the_table_follows_from_the_logits(finished):
    runs = pd.read_csv(finished.folder / "paper_figures/smoke/runs.csv").set_index("run")
    logits = np.load(finished.folder / "results/smoke/small_cnn/focal-2/seed1/logits.npz")
    right = logits["test_logits"].argmax(1) == logits["test_labels"]
    assert runs.loc["small_cnn/focal-2/seed1", "accuracy"] == right.mean()


def test_at_gamma_zero_both_hessians_are_the_same_one(finished):
    folder = finished.folder / "results/smoke/small_cnn/ce/seed0/curvature"
    one, two = (
        json.loads((folder / f"{loss}.json").read_text()) for loss in ("objective", "cross_entropy")
    )
    assert one["trace"] == two["trace"]
    assert one["loss"] == two["loss"] == "ce"
    focal = json.loads((folder.parents[2] / "focal-2/seed0/curvature/objective.json").read_text())
    assert focal["samples_sha256"] == one["samples_sha256"]
    assert focal["loss"] == "focal-2"


def test_a_run_that_is_followed_ends_where_the_run_itself_ended(finished):
    table = pd.read_csv(finished.folder / "results/smoke/trajectory/small_cnn/trajectory.csv")
    assert list(table["epoch"]) == [1, 2, 3]
    assert table["same_weights"].all()
    history = pd.read_csv(finished.folder / "results/smoke/small_cnn/focal-2/seed1/history.csv")
    last = history.set_index("epoch").loc[[1, 2, 3]]
    assert (table["validation_ece"].to_numpy() == last["validation_ece"].to_numpy()).all()
    assert (table[["trace_objective", "trace_cross_entropy"]] > 0).all(axis=None)
    assert (table["trace_objective"] != table["trace_cross_entropy"]).all()
    printed = (finished.folder / "paper_figures/smoke/tables/trajectory.md").read_text()
    assert "Same weights" in printed


def test_a_run_records_where_it_comes_from(finished):
    run = json.loads((finished.folder / "results/smoke/small_cnn/ce/seed0/run.json").read_text())
    assert run["packages"]["torch"].startswith(torch.__version__.partition("+")[0])
    assert run["spec"]["objective"]["parameters"] == {"gamma": 0}
    assert run["samples"] == {"train": 100, "validation": 100, "test": 200}
    assert run["seconds"] > 0
    assert run["threads"] == 1


def test_rescaling_changes_the_trace_and_not_the_invariant_measure(finished):
    table = pd.read_csv(finished.folder / "paper_figures/smoke/tables/controls.csv")
    (trained,) = table[table["control"] == "none"].to_dict("records")
    (twin,) = table[table["control"] == "dinh"].to_dict("records")
    assert twin["adaptive_sharpness"] == pytest.approx(trained["adaptive_sharpness"], rel=1e-4)
    assert twin["ece"] == pytest.approx(trained["ece"], abs=1e-4)
    assert abs(twin["trace"] / trained["trace"] - 1) > 0.1
    printed = (finished.folder / "paper_figures/smoke/tables/controls.md").read_text()
    assert "layers rescaled by 4" in printed


def test_what_came_of_theory_is_in_one_table(finished):
    folder = finished.folder / "paper_figures/smoke/tables"
    table = pd.read_csv(folder / "theory.csv")
    assert set(table["part"]) == {"bound", "logit_curvature", "posterior"}
    holds = table.query("measure == 'holds' and case == 'full'")
    assert holds["value"].eq(1).all()
    assert "A known posterior" in (folder / "theory.md").read_text()


def test_the_first_moment_of_the_density_is_the_trace(finished):
    """But for the error of its few probes: what this finds are lost factors and mixed-up runs."""
    folder = finished.folder / "results/smoke"
    spectrum = pd.read_csv(folder / "geometry/small_cnn/spectrum.csv")
    traces = pd.read_csv(folder / "geometry/small_cnn/estimators.csv").set_index("gamma")
    own = spectrum[spectrum["hessian_of"] == "objective"]
    for gamma, part in own.groupby("gamma"):
        slug = f"focal-{gamma:g}" if gamma else "ce"
        size = json.loads((folder / f"small_cnn/{slug}/seed1/run.json").read_text())["parameters"]
        moment = (part["weight"] * part["eigenvalue"]).sum() / part["probe"].nunique() * size
        assert moment == pytest.approx(traces.loc[gamma, "engine_trace"], rel=0.3)
    assert own["gamma"].nunique() == 2


def test_provenance_counts_the_curvature_under_both_losses(finished):
    record = json.loads((finished.folder / "paper_figures/smoke/provenance.json").read_text())
    files = list((finished.folder / "results/smoke").rglob("curvature/*.json"))
    seconds = {file: json.loads(file.read_text())["seconds"] for file in files}
    assert len(seconds) == 2 * record["runs"]
    assert record["curvature_seconds"] == round(sum(seconds.values()), 1)
    repeated = [t for f, t in seconds.items() if f.match("ce/*/curvature/cross_entropy.json")]
    assert len(repeated) == 2
    assert max(repeated) < 0.1


def test_a_lost_artifact_is_remade_to_the_bit(finished, tmp_path):
    copy = Copy(finished.folder, tmp_path / "copy")
    folder = copy.folder / "results/smoke/small_cnn/focal-2/seed0"
    files = [folder / name for name in ("model.pt", "logits.npz", "history.csv")]
    before = [file.read_bytes() for file in files]
    files[1].unlink()
    copy.snakemake(str(files[1].relative_to(copy.folder)), "--cores", "2", *SMOKE)
    assert [file.read_bytes() for file in files] == before


# File -> rules whose jobs it decides, beside those that depend on these; and the least that it must
# leave alone, as what comes before them.
EDITS = {
    "src/focal_curvature/training/schedule.py": ({"train", "trajectory"}, {"splits"}),
    "src/focal_curvature/training/loop.py": ({"train", "trajectory"}, {"splits"}),
    "src/focal_curvature/losses/focal.py": ({"train", "curvature"}, {"splits"}),
    "src/focal_curvature/models/small_cnn.py": ({"train", "curvature"}, {"splits"}),
    "src/focal_curvature/provenance.py": ({"train", "curvature"}, {"splits"}),
    "src/focal_curvature/curvature/engine.py": ({"curvature", "geometry", "gather"}, {"train"}),
    "src/focal_curvature/calibration/temperature.py": (
        {"calibration", "gather", "figures_ece"},
        {"train", "curvature"},
    ),
    "src/focal_curvature/analysis/summary.py": (
        {"tables_summary", "figures_trace", "cost"},
        {"gather"},
    ),
    "src/focal_curvature/plotting/trace.py": ({"figures_trace"}, {"gather", "tables_claims"}),
    "src/focal_curvature/plotting/matplotlibrc": ({"figures_trace"}, {"gather", "tables_claims"}),
    "src/focal_curvature/models/small_resnet.py": (set(), {"figures_trace"}),
    "src/focal_curvature/losses/brier.py": (set(), {"figures_trace"}),
    "src/focal_curvature/config.py": (set(), {"figures_trace"}),
    # The report is made from it whenever it is asked for.
    "workflow/report/figures/trace.rst": (set(), {"figures_trace"}),
}


@pytest.mark.parametrize("file", EDITS)
def test_an_edit_replans_what_it_decides_and_no_more(finished, file):
    decided, left = EDITS[file]
    with edited(finished.folder / file, lambda s: s + "\n# edited\n"):
        planned = finished.planned(*SMOKE)
    assert decided <= set(planned)
    assert not left & set(planned)
    assert decided or not planned


def test_sources_count_by_content_and_not_by_time(finished):
    for file in (finished.folder / "src").rglob("*.py"):
        file.touch()
    assert finished.planned(*SMOKE) == {}


def config_edit(finished, pattern, replacement):
    return edited(finished.folder / "config/smoke.yaml", lambda s: re.sub(pattern, replacement, s))


def test_a_new_seed_trains_only_its_own_runs(finished):
    with config_edit(finished, r"seeds: \[0, 1\]", "seeds: [0, 1, 2]"):
        assert finished.planned(*SMOKE)["train"] == 2


def test_another_spelling_of_a_number_is_the_same_run(finished):
    with config_edit(finished, r"gamma: \[0, 2\]", "gamma: [0.0, 2.0]"):
        assert "train" not in finished.planned(*SMOKE)


def test_another_learning_rate_retrains_and_more_probes_do_not(finished):
    with config_edit(finished, "learning_rate: 0.05", "learning_rate: 0.06"):
        assert finished.planned(*SMOKE)["train"] == 4
    with config_edit(finished, "probes: 5", "probes: 6"):
        planned = finished.planned(*SMOKE)
        assert planned["curvature"] == 2
        assert "train" not in planned


def test_report_holds_every_figure_with_its_caption(finished):
    finished.snakemake("--report", "report.html", *SMOKE)
    page = (finished.folder / "report.html").read_text()
    for words in ("Reliability diagrams across", "5 Rademacher probes", "2 seeds per cell"):
        assert words in page


@pytest.mark.parametrize("graph", ["--dag", "--rulegraph"])
def test_graphs_are_drawn(finished, graph):
    text = finished.snakemake(graph, *SMOKE).stdout
    assert "digraph" in text
    assert "curvature" in text


def test_workflow_is_clean_for_the_linter(finished):
    assert "Congratulations" in finished.snakemake("--lint").stdout


def test_a_run_that_the_configuration_lacks_is_refused_by_name(finished):
    file = "results/smoke/small_cnn/focal-3/seed0/logits.npz"
    done = finished.snakemake("--dry-run", file, *SMOKE, check=False)
    assert done.returncode == 1
    assert "'small_cnn/focal-3' is unknown: did you mean small_cnn/focal-2?" in done.stdout


BAD = {
    "not yaml": ("seeds: [0", "not valid JSON or YAML"),
    "number as text": ("training: {epochs: 1, batch_size: 8, learning_rate: 5e-4}", "5.0e-4"),
    "unknown key": ("sedes: [0]", "did you mean seeds"),
    "empty": ("", "keys at top level"),
    "nothing in it": ("device: cpu", "experiment: is missing"),
}


@pytest.mark.parametrize(("text", "words"), BAD.values(), ids=BAD)
def test_a_bad_configuration_stops_before_any_job(finished, text, words):
    bad = finished.folder / "config/bad.yaml"
    bad.write_text(text)
    done = finished.snakemake("--cores", "1", "--configfile", "config/bad.yaml", check=False)
    assert done.returncode == 1
    assert words in done.stdout
    assert "Traceback" not in done.stdout
    assert "Execute" not in done.stdout
