"""A run against another: ``processors`` has parts of the default experiment of two machines."""

import copy
import dataclasses
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from focal_curvature import verification
from focal_curvature.cli.app import app
from focal_curvature.verification import compare, read

FOLDER = Path(__file__).parent / "processors"
MACHINE = {"processor_id": "A", "libc": "glibc 2", "kernels": {"torch": "AVX2"}, "device": "cpu"}


@pytest.fixture
def reference():
    return read(FOLDER / "committed")


@pytest.fixture
def other():
    return read(FOLDER / "other")


def on(results, **machine):
    """Return results as if made on a machine that its record describes."""
    return dataclasses.replace(
        results, provenance={**results.provenance, "machines": [MACHINE | machine]}
    )


def changed(results, metric, change, cells=slice(None)):
    """Return results with a metric's mean and interval moved."""
    summary = results.summary.copy()
    rows = summary.index[summary["metric"] == metric][cells]
    summary.loc[rows, ["mean", "low", "high"]] += change
    return dataclasses.replace(results, summary=summary)


def with_verdict(results, index, verdict):
    claims = copy.deepcopy(results.claims)
    claims["claims"][index]["verdict"] = verdict
    return dataclasses.replace(results, claims=claims)


def test_a_run_from_another_processor_agrees_as_new_draws_do(reference, other):
    comparison = compare(reference, other)
    assert comparison.agrees
    assert (comparison.verdicts["change"] == "undecided once").sum() == 1
    assert "(c2_overall objective small_cnn)" in comparison.conclusion
    assert "as new draws" in comparison.conclusion
    assert not comparison.numbers["equal"].all()
    assert "train_seconds" not in set(comparison.numbers["quantity"])


def test_the_same_run_agrees_to_the_bit_wherever_it_was_made(reference):
    for there in (reference, on(reference), on(reference, processor_id="B")):
        comparison = compare(reference, there)
        assert comparison.agrees
        assert comparison.conclusion.startswith("agrees to the bit")


def test_on_the_same_machine_one_bit_is_a_disagreement_and_elsewhere_none(reference):
    here = on(reference)
    moved = changed(here, "ece", 1e-15, slice(1))
    comparison = compare(here, moved)
    assert not comparison.agrees
    assert "1 of" in comparison.conclusion and "The sources are the same" in comparison.conclusion
    for key, value in (("processor_id", "B"), ("kernels", {"torch": "AVX512"}), ("threads", 2)):
        assert compare(here, on(moved, **{key: value})).agrees
    # A record that does not say which processor it was may be of any.
    assert compare(reference, changed(reference, "ece", 1e-15)).agrees


def test_a_difference_beyond_chance_is_named(reference, other):
    comparison = compare(reference, changed(other, "trace_objective", 50.0, slice(1)))
    assert not comparison.agrees
    assert "1 of" in comparison.conclusion
    assert "small_cnn ce trace_objective" in comparison.conclusion
    assert "This is not chance" in comparison.conclusion
    # A constant cannot differ by chance.
    assert not compare(reference, changed(other, "parameters", 1.0, slice(1))).agrees


def test_a_reversed_verdict_is_a_disagreement_and_an_undecided_one_none(reference):
    there = on(reference, processor_id="B")
    assert reference.claims["claims"][0]["verdict"] == "contradicted"
    assert compare(reference, with_verdict(there, 0, "inconclusive")).agrees
    comparison = compare(reference, with_verdict(there, 0, "supported"))
    assert not comparison.agrees
    assert "1 of 18 verdicts are reversed (c1_trace objective small_cnn)" in comparison.conclusion


def test_another_data_set_is_not_compared(reference, other):
    other.provenance["dataset"]["sha256"] = {"images.npy": "0"}
    comparison = compare(reference, other)
    assert not comparison.agrees
    assert "the data set is another one" in comparison.conclusion


def test_verdicts_by_other_rules_are_not_compared(reference, other):
    other.claims["rules"]["alpha"] = 0.01
    comparison = compare(reference, other)
    assert comparison.agrees and comparison.verdicts.empty
    assert comparison.conclusion.endswith("judged by other rules, verdicts are not compared")


def test_a_verdict_is_about_an_outcome_and_a_gamma_too(reference):
    def asked(verdicts):
        row = {"claim": "c", "family": "C", "hessian_of": None, "outcome": "nll", "model": "m"}
        numbers = {"estimate": 1.0, "interval": [None, None], "seeds": 5, "effect": ""}
        rows = [row | numbers | {"gamma": g, "verdict": v} for g, v in verdicts.items()]
        return dataclasses.replace(reference, claims={"rules": {}, "claims": rows})

    verdicts = {1.0: "supported", 3.0: "contradicted"}
    comparison = compare(asked(verdicts), asked(verdicts | {3.0: "supported"}))
    assert list(comparison.verdicts["change"]) == ["same", "reversed"]
    assert "(c nll 3.0 m)" in comparison.conclusion


def test_runs_count_where_both_have_them(reference):
    runs = pd.DataFrame(
        {"run": ["a", "b"], "status": "completed", "ece": [0.1, np.nan], "train_seconds": [1, 2]}
    )
    here = on(dataclasses.replace(reference, runs=runs))
    slower = dataclasses.replace(here, runs=runs.assign(train_seconds=9))
    assert compare(here, slower).conclusion.startswith("agrees to the bit")
    earlier = on(dataclasses.replace(reference, runs=runs.assign(ece=np.nan)))
    assert compare(earlier, here).conclusion.startswith("agrees to the bit")
    diverged = dataclasses.replace(here, runs=runs.assign(status=["completed", "diverged"]))
    assert "1 runs" in compare(here, diverged).conclusion
    assert compare(here, on(diverged, processor_id="B")).conclusion.endswith("in one: b")


def table(rng, seeds, cells, shift=0.0):
    """A summary of normal draws, and nothing else."""
    rows = []
    for cell in range(cells):
        values = rng.normal(size=seeds) + shift
        mean, half = values.mean(), values.std(ddof=1) / seeds**0.5
        half *= verification.stats.t.ppf(0.975, seeds - 1)
        rows.append(["m", str(cell), "ece", mean, mean - half, mean + half, seeds])
    columns = ["model", "objective", "metric", "mean", "low", "high", "n"]
    provenance = {"dataset": {"sha256": {}}, "machines": [{}], "software": [], "commits": ["a"]}
    return verification.Results(pd.DataFrame(rows, columns=columns), {"claims": []}, provenance)


def test_new_draws_agree_and_others_do_not():
    rng = np.random.default_rng(0)
    comparison = compare(table(rng, 5, 2000), table(rng, 5, 2000))
    assert comparison.agrees
    assert 0.03 < (comparison.numbers["p"] < 0.05).mean() < 0.06
    covered = comparison.numbers["difference"].abs() <= comparison.numbers["joint"]
    assert 0.94 < covered.mean() < 0.97
    assert not compare(table(rng, 5, 20), table(rng, 5, 20, shift=6)).agrees


def git(folder, *arguments):
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


def test_the_command_compares_with_the_commit_whatever_lies_there(tmp_path):
    def told(status, *arguments):
        done = CliRunner().invoke(app, ["verify", *map(str, arguments)])
        assert done.exit_code == status
        return done.output.splitlines()[-1]

    folder = tmp_path / "paper_figures/digits"
    shutil.copytree(FOLDER / "committed", folder)
    git(tmp_path, "init")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--message", "a")
    # Whatever else has changed: a table of runs pieced together for an earlier version, say.
    (folder / "runs.csv").write_text("run\n", encoding="utf-8")
    assert "nothing was run" in told(2, folder)
    shutil.rmtree(folder)
    shutil.copytree(FOLDER / "other", folder)
    assert "as new draws" in told(0, folder)
    assert "to the bit" in told(0, folder, "--reference", folder)

    claims = json.loads((folder / "claims.json").read_text(encoding="utf-8"))
    claims["claims"][0]["verdict"] = "supported"
    (folder / "claims.json").write_text(json.dumps(claims), encoding="utf-8")
    assert told(1, folder).startswith("does not agree")

    # A table of runs that these tables were not made from; a folder that the commit has not.
    (folder / "runs.csv").write_text("run\n", encoding="utf-8")
    assert "runs.csv: sha256 is" in told(2, folder)
    (folder / "runs.csv").unlink()
    folder.rename(folder.with_name("mine"))
    assert "no results" in told(2, folder.with_name("mine"))


def test_an_experiment_without_verdicts_is_compared_by_its_numbers(tmp_path):
    for name in ("reference", "fresh"):
        shutil.copytree(FOLDER / "committed", tmp_path / name)
    reference, fresh = tmp_path / "reference", tmp_path / "fresh"
    (fresh / "claims.json").unlink()
    lost = verification.compare(verification.read(reference), verification.read(fresh))
    assert not lost.agrees
    assert "claims.json" in lost.conclusion
    (fresh / "claims.json").write_text("")
    with pytest.raises(ValueError, match="Expecting value"):
        verification.read(fresh)  # damaged, which is not the same as absent
    (fresh / "claims.json").unlink()
    (reference / "claims.json").unlink()
    neither = verification.compare(verification.read(reference), verification.read(fresh))
    assert neither.agrees
    assert neither.conclusion.endswith("0 verdicts")
