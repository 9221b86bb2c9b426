"""Figures are drawn from their tables alone, and their tables are computed right."""

import importlib
import io
import itertools

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from checkout import ROOT
from matplotlib.figure import Figure
from scipy import stats

from focal_curvature import plotting
from focal_curvature.analysis.tables import MEASURED
from focal_curvature.plotting import common
from focal_curvature.products import products

# objective, loss, gamma, regulariser, strength
ARMS = [
    ("ce", "focal", 0.0, None, None),
    ("focal-1", "focal", 1.0, None, None),
    ("focal-2", "focal", 2.0, None, None),
    ("brier", "brier", None, None, None),
    ("ce-sam-0.05", "cross_entropy", 0.0, "sam", 0.05),
    ("ce-hessian_trace-0.01", "cross_entropy", 0.0, "hessian_trace", 0.01),
    ("ce-hessian_trace-0.1", "cross_entropy", 0.0, "hessian_trace", 0.1),
    ("focal-2-sam-0.05", "focal", 2.0, "sam", 0.05),
]


@pytest.fixture
def runs():
    generator = np.random.default_rng(0)
    names = ("objective", "loss", "gamma", "regulariser", "strength")
    rows = []
    for model in ("cnn", "resnet"):
        for arm in ARMS:
            for seed in range(3):
                row = dict(zip(names, arm, strict=True))
                row |= {"model": model, "seed": seed, "status": "completed"}
                row |= {
                    f"{m}_{loss}": generator.lognormal()
                    for m in ("top_eigenvalue", "trace", "adaptive_sharpness")
                    for loss in ("objective", "cross_entropy")
                }
                row |= dict.fromkeys(["ece", "ece_scaled"], generator.uniform(0, 0.1))
                row |= dict.fromkeys(["noise_floor", "noise_floor_95", "noise_floor_scaled"], 0.01)
                row |= {"accuracy": generator.uniform(0.5, 1)}
                row |= {"confidence_gap": generator.uniform(-0.1, 0.1), "dataset": "digits"}
                row |= {f"nll_{p}": generator.uniform() for p in ("refinement", "calibration")}
                rows.append(row)
    return pd.DataFrame(rows)


@pytest.fixture
def reliability():
    return pd.DataFrame(
        [
            {
                "model": "cnn", "objective": "ce", "gamma": 0.0, "seed": seed, "variant": variant,
                "bin": b, "lower": b / 2, "upper": (b + 1) / 2, "count": count,
                "confidence": b / 2 + 0.25, "accuracy": accuracy,
            }
            for variant in ("before", "after", "psi")
            for seed, accuracy, counts in ((0, 0.2, (10, 30)), (1, 0.8, (30, 0)), (2, 0.5, (0, 0)))
            for b, count in enumerate(counts)
        ]
    )  # fmt: skip


@pytest.fixture
def tables(runs, reliability):
    cells = [
        {"model": model, "gamma": gamma, "seed": 0, "hessian_of": loss}
        for model in ("cnn", "resnet")
        for gamma in (0.0, 2.0)
        for loss in common.LOSS_LABELS
    ]
    steps = np.linspace(-0.5, 0.5, 5)
    runs_of_theory = [cell for cell in cells if cell["hessian_of"] == "objective" and cell["gamma"]]
    verdicts = [("cnn", "inconclusive"), ("resnet", "not tested"), ("all models", "contradicted")]
    shares = [
        {"family": "C4", "claim": claim, "role": "decides", "says": claim, "unit": "share"}
        | {"null": 0.5, "model": model, "measure": "trace", "hessian_of": loss, "gamma": 3.0}
        | {"outcome": "confidence_gap", "estimate": middle, "low": low, "high": 0.4}
        | {"verdict": "contradicted", "fragile": False}
        for claim in ("c4_direct", "c4_mediation")
        for loss in common.LOSS_LABELS
        for model, low, middle in (
            ("cnn", 0.1, 0.2),
            ("resnet", -np.inf, 0.2),
            ("all models", np.nan, np.nan),
        )
    ]
    claims = [
        {"family": "C1", "role": "decides", "says": says, "unit": unit, "null": 0.0}
        | {"hessian_of": loss, "model": model, "verdict": verdict, "low": -0.2, "high": 0.3}
        | {"fragile": verdict == "contradicted"}
        | {"estimate": 0.1 if verdict == "inconclusive" else np.nan}
        for says, unit in (("it falls", "ρ"), ("it helps", "points"))
        for loss in common.LOSS_LABELS
        for model, verdict in verdicts
    ]
    return {
        "runs": runs,
        "reliability": reliability,
        "claims": pd.DataFrame(claims + shares),
        "histories": pd.DataFrame(
            {"model": model, "objective": objective, "seed": seed, "epoch": epoch}
            | {f"{split}_{name}": seed / 10 for split in ("train", "validation")
               for name in ("accuracy", "nll", "ece")}
            for model in ("cnn", "resnet")
            for objective in ("ce", "focal-2", "brier")
            for seed in range(3)
            for epoch in (5, 10, 15)
        ),
        "shift": pd.DataFrame(
            {"model": model, "objective": objective, "gamma": 0.0, "seed": seed, "shift": kind}
            | {"severity": severity, "samples": 50, "temperature": 1.5}
            | {name: 0.1 * severity + 0.01 * seed for name in plotting.load("shift").SHOWN}
            for model in ("cnn", "resnet")
            for objective in ("ce", "focal-2")
            for seed in (0, 1)
            for kind, severity in (
                ("none", 0), ("fog", 1), ("blur", 1), ("fog", 2), ("test_set", 0)
            )
        ),
        "predictors": pd.DataFrame(
            {"model": model, "outcome": outcome, "predictor": predictor, "intervention": name}
            | {"error": error, "error_low": error - spread, "error_high": error + spread}
            for model in ("cnn", "resnet")
            for outcome in ("confidence_gap", "ece")
            for predictor, error in (("trace_cross_entropy", 0.05), ("none", 0.1))
            # One seed has no interval.
            for name, spread in (("all", np.nan), ("epochs", 0.01), ("noise", 0.02))
        ),
        "spectrum": pd.DataFrame(
            cell | {"probe": probe, "eigenvalue": e, "weight": w}
            for cell in cells
            for probe in (0, 1)
            for e, w in ((-0.01, 0.1), (0.0, 0.8), (1.0, 0.1))
        ),
        "lines": pd.DataFrame(
            cell | {"direction": d, "step": s, "loss": 0.1 + s * s}
            for cell in cells
            for d in ("top eigenvector", "random")
            for s in steps
        ),
        "plane": pd.DataFrame(
            cell | {"x": x, "y": y, "loss": 0.1 + x * x + 2 * y * y}
            for cell in cells
            for x in steps
            for y in steps
        ),
        "predictions": pd.DataFrame(
            cell | {"classes": 10, "log_odds": odds, "ratio": np.exp(-odds)}
            | {"removed": np.exp(-odds), "full": 3 * np.exp(-odds), "true_class": np.exp(-odds)}
            for cell in runs_of_theory
            for odds in (-2.0, 0.5, 3.0)
        ),
        "posterior_points": pd.DataFrame(
            {"gamma": gamma, "true": q, "raw": q**2, "scaled": q, "psi": q}
            for gamma in (1.0, 3.0)
            for q in (0.6, 0.8, 0.99)
        ),
        "posterior_plane": pd.DataFrame(
            {"gamma": 3.0, "variant": v, "x": x, "y": y, "predicted": int(x > y)}
            | {"confidence": 0.7 + x * y}
            for v in ("true", "raw", "scaled", "psi")
            for x in steps
            for y in steps
        ),
        "controls": pd.DataFrame(
            {"model": model, "gamma": gamma, "seed": 0, "control": control, "value": value}
            | {"trace": trace, "ece": ece, "noise_floor_95": 0.01}
            for model in ("cnn", "resnet")
            for gamma in (0.0, 2.0)
            for control, value, trace, ece in (
                ("none", None, 8.0, 0.05),
                ("temperature", 1.5, 4.0, 0.02),
                ("dinh", 4.0, 64.0, 0.05),
                ("psi", 2.0, None, 0.03),
                ("dinh", 2.0, None, None),
            )
        ),
        "trajectory": pd.DataFrame(
            {"model": model, "objective": objective, "seed": seed, "epoch": epoch}
            | {"same_weights": seed == 0}
            | dict.fromkeys(plotting.load("trajectory").SHOWN, 0.1 * epoch)
            for model in ("cnn", "resnet")
            for objective in ("ce", "focal-2", "ce-sam-0.05")
            for seed in (0, 1)
            for epoch in (1, 2, 4)
        ),
    }  # fmt: skip


STYLE = ROOT / "src/focal_curvature/plotting/matplotlibrc"


def apart(axis):
    """Require that no label of a tick runs into another."""
    low, high = sorted(axis.get_view_interval())
    ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
    labels = [t.label1 for t in ticks if low <= t.get_loc() <= high and t.label1.get_visible()]
    extents = [label.get_window_extent() for label in labels if label.get_text()]
    for one, other in itertools.combinations(extents, 2):
        assert not one.overlaps(other), [label.get_text() for label in labels]


FIGURES = [product.name for product in products("figures")]


@pytest.mark.parametrize("figure", FIGURES)
def test_each_figure_is_drawn_from_its_table_the_same_in_either_order(figure, tables, tmp_path):
    data = tmp_path / "data.csv"
    plotting.load(figure).prepare(tables).to_csv(data, index=False)
    outputs = [tmp_path / f"{name}.{kind}" for name in ("one", "two") for kind in ("pdf", "png")]
    plotting.draw(figure, data, outputs[:2])
    plotting.draw(figure, data, outputs[:1:-1])
    assert outputs[0].read_bytes() == outputs[2].read_bytes()
    assert outputs[1].read_bytes() == outputs[3].read_bytes()
    assert outputs[0].read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize("figure", FIGURES)
def test_legends_are_within_a_figure_of_one_model(figure, tables):
    one = {
        name: table[table["model"].isin([table["model"].iloc[0], "all models"])]
        if "model" in table
        else table
        for name, table in tables.items()
    }
    module = plotting.load(figure)
    data = pd.read_csv(io.StringIO(module.prepare(one).to_csv(index=False)))
    with mpl.rc_context(fname=STYLE):
        drawn = module.draw(data)
        drawn.draw_without_rendering()
    for legend in drawn.legends:
        extent = legend.get_window_extent()
        assert extent.x0 >= 0 and extent.x1 <= drawn.bbox.width
    for ax in drawn.axes:
        apart(ax.xaxis)
        apart(ax.yaxis)
        for label in ax.get_yticklabels():
            assert not label.get_text() or label.get_window_extent().x0 >= 0


def test_the_benchmark_prepares_every_figure(runs, reliability, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    scoring = importlib.import_module("scoring")
    monkeypatch.setattr(scoring, "RUNS", len(runs) + 1)
    runs.to_csv(tmp_path / "runs.csv", index=False)
    reliability.to_csv(tmp_path / "reliability.csv", index=False)
    tables = scoring.thousand(tmp_path)
    assert len(tables["runs"]) == 2 * len(runs)
    for figure in scoring.FIGURES:
        # Three seeds are too few for a share of an effect.
        assert len(scoring.load(figure).prepare(tables)) or figure == "mediation"


@pytest.mark.parametrize("figure", FIGURES)
def test_a_figure_is_drawn_where_all_runs_diverged(figure, tables, tmp_path):
    tables["runs"]["status"] = "diverged"
    measured = tables["runs"].columns.intersection(MEASURED)
    tables["runs"][measured] = np.nan
    tables["claims"] = tables["claims"].assign(verdict="not tested", estimate=np.nan)
    for name, table in tables.items():
        kept = table if name in ("runs", "claims") else table[:0]
        kept.to_csv(tmp_path / f"{name}.csv", index=False)
        tables[name] = pd.read_csv(tmp_path / f"{name}.csv")
    data = tmp_path / "data.csv"
    plotting.load(figure).prepare(tables).to_csv(data, index=False)
    plotting.draw(figure, data, [tmp_path / "figure.pdf"])
    assert pd.read_csv(data).empty == (figure != "verdicts")
    assert (tmp_path / "figure.pdf").exists()


def rows_of(tables, keep):
    """Keep of each table the rows that a function of it selects."""
    return {name: table[keep(name, table)] for name, table in tables.items()}


def without_cross_entropy(name, table):
    if "objective" not in table:
        return table["gamma"] != 0 if "gamma" in table else table.index >= 0
    return ~table["objective"].str.startswith("ce")


def without_plain_cross_entropy(name, table):
    return table["objective"] != "ce" if "objective" in table else table.index >= 0


def of_one_gamma(name, table):
    if "gamma" not in table:
        return table.get("objective", pd.Series("", table.index)) != "focal-1"
    return table["gamma"].isna() | table["gamma"].isin([0, table["gamma"].max()])


def of_one_seed(name, table):
    return table["seed"] == 0 if "seed" in table else table.index >= 0


def without_a_model(name, table):
    if name == "runs" or "model" not in table:
        return table.index >= 0
    return table["model"] != "cnn"


SMALLER = {
    "no cross-entropy": without_cross_entropy,
    "cross-entropy with penalties alone": without_plain_cross_entropy,
    "one gamma beside 0": of_one_gamma,
    "one seed": of_one_seed,
    "a model diverged": without_a_model,
}


@pytest.mark.parametrize("what", SMALLER)
@pytest.mark.parametrize("figure", FIGURES)
def test_a_figure_is_drawn_of_an_experiment_that_lacks_something(figure, what, tables, tmp_path):
    if what == "a model diverged":
        runs = tables["runs"]
        lost = runs["model"] == "cnn"
        runs.loc[lost, "status"] = "diverged"
        runs.loc[lost, runs.columns.intersection(MEASURED)] = np.nan
    for name, table in rows_of(tables, SMALLER[what]).items():
        table.to_csv(tmp_path / f"{name}.csv", index=False)
        tables[name] = pd.read_csv(tmp_path / f"{name}.csv")
    data = tmp_path / "data.csv"
    plotting.load(figure).prepare(tables).to_csv(data, index=False)
    plotting.draw(figure, data, [tmp_path / "figure.pdf"])
    assert (tmp_path / "figure.pdf").exists()


CLOSER = [
    product.name
    for product in products("figures")
    if not {"runs", "reliability", "claims", "predictors", "posterior_points"} & set(product.needs)
]


@pytest.mark.parametrize("figure", CLOSER)
def test_a_closer_look_is_drawn_where_a_models_first_run_diverged(figure, tables, tmp_path):
    for name, table in tables.items():
        gone = pd.Series(False, table.index)
        if name not in ("reliability", "claims", "predictors"):
            first = "gamma" if "gamma" in table else "objective"
            gone = (table.get("model") == "cnn") & (table[first] == table[first].iloc[0])
        table[~gone].to_csv(tmp_path / f"{name}.csv", index=False)
        tables[name] = pd.read_csv(tmp_path / f"{name}.csv")
    data = tmp_path / "data.csv"
    plotting.load(figure).prepare(tables).to_csv(data, index=False)
    plotting.draw(figure, data, [tmp_path / "figure.pdf"])
    assert (tmp_path / "figure.pdf").exists()


def test_a_control_without_curvature_is_not_drawn(tables):
    controls = tables["controls"]
    lost = (controls["model"] == "cnn") & (controls["gamma"] == 0)
    controls.loc[lost & (controls["control"] == "temperature"), "trace"] = np.nan
    controls.loc[lost & (controls["control"] == "none"), "trace"] = np.nan
    table = plotting.load("interventions").prepare(tables)
    assert list(table.groupby(["model", "gamma"]).size()) == [3, 3, 3]
    assert table.notna().all(axis=None)
    controls.loc[lost & (controls["control"] == "none"), "trace"] = 8.0
    table = plotting.load("interventions").prepare(tables)
    left = table[(table["model"] == "cnn") & (table["gamma"] == 0)]
    assert list(left["control"]) == ["dinh", "psi"]
    assert left["trace"].iloc[1] == 8.0


def test_failed_runs_and_other_losses_are_not_drawn(runs):
    runs.loc[0, "status"] = "diverged"
    focal = common.focal_runs(runs)
    assert len(focal) == 2 * 3 * 3 - 1
    assert focal["gamma"].notna().all()


def test_a_followed_run_that_ended_with_other_weights_is_dashed(tables):
    module = plotting.load("trajectory")
    figure = module.draw(module.prepare(tables))
    lines = figure.axes[0].get_lines()
    assert [line.get_linestyle() for line in lines] == ["-", "--"] * 3


def test_strengths_stand_beside_plain_cross_entropy(runs):
    runs.loc[runs["objective"] == "ce-sam-0.05", "status"] = "diverged"
    table = plotting.load("strength").prepare({"runs": runs})
    assert dict(table["arm"].value_counts()) == {"hessian_trace": 12, "plain cross-entropy": 6}
    row = table.query("model == 'cnn' and strength == 0.1 and seed == 1").iloc[0]
    wanted = runs.query("model == 'cnn' and strength == 0.1 and seed == 1").iloc[0]
    assert (row["trace"], row["ece"]) == (wanted["trace_cross_entropy"], wanted["ece"])


def test_every_arm_has_its_family(runs):
    table = plotting.load("arms").prepare({"runs": runs})
    families = table.groupby("objective")["family"].unique().str[0].to_dict()
    assert families == {
        "ce": "cross-entropy",
        "focal-1": "focal",
        "focal-2": "focal",
        "brier": "other loss",
        "ce-sam-0.05": "penalty",
        "ce-hessian_trace-0.01": "penalty",
        "ce-hessian_trace-0.1": "penalty",
        "focal-2-sam-0.05": "penalised loss",
    }
    assert len(table) == 2 * len(runs)
    assert set(table.query("family == 'penalty'")["name"]) == {"sam", "hessian_trace"}


def test_arms_without_any_regulariser_have_families(runs):
    focal = runs[runs["gamma"].notna() & runs["regulariser"].isna()].assign(regulariser=np.nan)
    assert set(plotting.load("refinement").prepare({"runs": focal})["family"]) == {
        "focal",
        "cross-entropy",
    }


def test_curvature_table_keeps_every_seed_and_both_losses(runs):
    table = plotting.load("trace").prepare({"runs": runs})
    assert len(table) == 2 * 2 * 3 * 3
    wanted = runs.query("model == 'cnn' and gamma == 1 and seed == 2")["trace_cross_entropy"].item()
    query = "model == 'cnn' and gamma == 1 and seed == 2 and hessian_of == 'cross_entropy'"
    assert table.query(query)["trace"].item() == wanted


def test_reliability_pools_seeds_by_their_counts(reliability):
    table = plotting.load("reliability").prepare({"reliability": reliability})
    assert set(table["variant"]) == {"before", "after"}
    low = table.query("variant == 'before' and bin == 0").iloc[0]
    assert low["accuracy"] == pytest.approx((10 * 0.2 + 30 * 0.8) / 40)
    assert (low["lowest"], low["highest"], low["seeds"]) == (0.2, 0.8, 2)
    assert low["share"] == pytest.approx(40 / 70)


def test_bins_of_few_samples_are_not_shown(reliability):
    few = reliability.assign(count=reliability["count"].where(reliability["bin"] == 0, 3))
    assert set(plotting.load("reliability").prepare({"reliability": few})["bin"]) == {0}


def test_spectrum_counts_the_nodes_beyond_each_magnitude(tables):
    nodes = pd.DataFrame(
        [
            {"model": "cnn", "hessian_of": "objective", "gamma": 0.0, "seed": 0, "probe": probe}
            | {"eigenvalue": value, "weight": weight}
            for probe, values in ((0, ((2.0, 0.25), (-0.5, 0.75))), (1, ((2.0, 1.0),)))
            for value, weight in values
        ]
    )
    tails = plotting.load("spectrum").prepare({"spectrum": nodes})
    share = tails.set_index(["sign", "magnitude"])["share"]
    # Means over two probes: (0.25 + 1) / 2 beyond anything below 2, 0.75 / 2 of negative ones.
    assert set(share["positive"]) == {0.625} and share["positive"].index.max() < 2
    assert set(share["negative"]) == {0.375} and share["negative"].index.max() < 0.5


def test_relative_curvature_is_of_pairs_of_one_seed(runs):
    ratios = plotting.load("relative_curvature").prepare({"runs": runs})
    row = ratios.query(
        "model == 'cnn' and gamma == 2 and seed == 1 and measure == 'trace' "
        "and hessian_of == 'cross_entropy'"
    )
    own = runs.query("model == 'cnn' and seed == 1").set_index("objective")["trace_cross_entropy"]
    assert row["ratio"].item() == own["focal-2"] / own["ce"]
    assert (ratios.loc[ratios["gamma"] == 0, "ratio"] == 1).all()


def test_training_curves_are_means_over_the_seeds_of_focal_loss(tables):
    tables["histories"]["validation_nll"] = tables["histories"]["seed"].astype(float)
    tables["runs"].loc[tables["runs"]["seed"] == 2, "status"] = "diverged"
    curves = plotting.load("training").prepare(tables)
    assert set(curves["gamma"]) == {0, 2}
    one = curves.query("model == 'cnn' and gamma == 2 and quantity == 'validation_nll'")
    assert one["epoch"].tolist() == [5, 10, 15]
    assert (one["mean"] == 0.5).all() and (one["seeds"] == 2).all()
    tables["histories"] = tables["histories"].query("epoch == 15")
    assert plotting.load("training").prepare(tables).empty  # one evaluation is no curve


def test_the_factorial_has_runs_without_a_penalty_beside_each_penalty(runs):
    table = plotting.load("factorial").prepare({"runs": runs})
    assert "brier" not in set(table["penalty"]) and set(table["penalty"]) == {
        "sam",
        "hessian_trace",
    }
    cells = table.query("model == 'cnn' and hessian_of == 'objective' and seed == 1")
    found = cells.set_index(["penalty", "gamma", "strength"])["trace"].sort_index()
    own = runs.query("model == 'cnn' and seed == 1").set_index("objective")["trace_objective"]
    assert found.to_dict() == {
        ("sam", 0, 0): own["ce"],
        ("sam", 1, 0): own["focal-1"],
        ("sam", 2, 0): own["focal-2"],
        ("sam", 0, 0.05): own["ce-sam-0.05"],
        ("sam", 2, 0.05): own["focal-2-sam-0.05"],
        ("hessian_trace", 0, 0): own["ce"],
        ("hessian_trace", 1, 0): own["focal-1"],
        ("hessian_trace", 2, 0): own["focal-2"],
        ("hessian_trace", 0, 0.01): own["ce-hessian_trace-0.01"],
        ("hessian_trace", 0, 0.1): own["ce-hessian_trace-0.1"],
    }


def test_shares_with_endless_intervals_are_drawn_to_both_edges(tables):
    module = plotting.load("mediation")
    table = module.prepare(tables)
    assert len(table) == 8 and set(table["model"]) == {"cnn", "resnet"}
    figure = module.draw(table)
    figure.draw_without_rendering()
    for row, arrows in zip(figure.axes, (0, 4), strict=True):  # one outcome: an axis per model
        heads = [line for line in row.get_lines() if line.get_marker() == "<"]
        assert len(heads) == arrows
        assert all(line.get_xdata()[0] == module.RANGE[0] for line in heads)


def test_shift_is_a_mean_over_kinds_and_then_over_seeds(tables):
    table = plotting.load("shift").prepare(tables)
    found = table.query("model == 'cnn' and objective == 'ce' and metric == 'ece'")
    means = found.set_index(["shift", "severity"])["mean"].to_dict()
    wanted = {("none", 0): 0.005, ("corruptions", 1): 0.105, ("corruptions", 2): 0.205}
    assert means == pytest.approx(wanted)


def test_accuracy_in_a_bin_has_the_interval_of_a_ratio_over_seeds(reliability):
    table = plotting.load("reliability").prepare({"reliability": reliability})
    low = table.query("variant == 'before' and bin == 0").iloc[0]
    correct, count = np.array([2.0, 24.0]), np.array([10, 30])
    ratio = correct.sum() / count.sum()
    error = np.sqrt(2 * np.sum((correct - ratio * count) ** 2)) / count.sum()
    half = stats.t.ppf(0.975, 1) * error
    assert (low["low"], low["high"]) == pytest.approx((ratio - half, ratio + half))
    one = table.query("variant == 'before' and bin == 1").iloc[0]  # of a single seed
    assert one[["low", "high"]].isna().all()


def test_objectives_are_named_in_words():
    names = {
        "ce": "cross-entropy",
        "focal-0.5": "γ = 0.5",
        "flsd": "FLSD",
        "ce-hessian_trace-1e-05": "Hessian trace 1e-05",
        "focal-3-gauss_newton_trace-every4-strength0.001": "γ = 3, Gauss-Newton trace, every 4, "
        "strength 0.001",
    }
    assert {slug: common.objective_label(slug) for slug in names} == names


def test_networks_on_all_data_sets_stand_on_one_panel_each_once(runs):
    module = plotting.load("across.relative_curvature")
    other = runs[runs["model"] == "cnn"].assign(dataset="letters", ece=runs["ece"] + 1)
    table = module.prepare(
        {"runs": {"one": runs, "again": runs, "other": other}, "rules": {"alike": []}}
    )
    cells = table[["data_set", "model", "experiments"]].drop_duplicates()
    assert set(cells.itertuples(index=False, name=None)) == {
        ("digits", "cnn", "again+one"),
        ("digits", "resnet", "again+one"),
        ("letters", "cnn", "other"),
    }
    figure = module.draw(table)
    assert len(figure.axes) == 4
    assert [len(ax.containers) for ax in figure.axes] == [3] * 4


def test_networks_of_two_experiments_are_told_apart_and_more_than_there_are_markers(
    runs,
):
    module = plotting.load("across.relative_curvature")
    one = runs[runs["model"] == "cnn"]
    many = [one.assign(model=f"cnn{i}") for i in range(len(common.MARKERS) + 1)]
    experiments = {"one": pd.concat([one, *many]), "fewer": one.assign(ece=one["ece"] + 1)}
    figure = module.draw(module.prepare({"runs": experiments, "rules": {"alike": []}}))
    (legend,) = figure.legends
    names = [text.get_text() for text in legend.get_texts()]
    assert len(names) == len(set(names)) == 2 + len(many)
    looks = {
        (bars.lines[0].get_marker(), bars.lines[0].get_mfc()) for bars in figure.axes[0].containers
    }
    assert len({look for look in looks if look[0] == common.MARKERS[0]}) == 2
    assert [len(ax.containers) for ax in figure.axes] == [2 + len(many)] * 4


def test_shares_have_a_line_per_network_hollow_where_the_claim_was_made_from_it():
    module = plotting.load("across.shares")
    keys = ["data_set", "model", "experiments", "claim", "known", "estimate", "low", "high"]
    rows = [
        ("one", "mlp", "a", "c5_map", True, 1.0, 0.9, 1.1),
        ("one", "mlp", "b", "c5_map", False, 1.0, 0.9, 1.1),
        ("two", "mlp", "c", "c4_direct", False, 0.0, -0.1, 0.1),
    ]
    figure = module.draw(pd.DataFrame(rows, columns=keys))
    (ax,) = figure.axes
    assert [tick.get_text() for tick in ax.get_yticklabels()] == [
        "one, MLP (a)", "one, MLP (b)", "two, MLP",
    ]  # fmt: skip
    diamonds = [line for line in ax.lines if line.get_marker() == "D"]
    assert [line.get_ydata()[0] for line in diamonds] == pytest.approx([0.22, 1.22])
    assert [line.get_mfc() == "white" for line in diamonds] == [True, False]


def test_pooled_effects_have_their_verdicts_beside_them():
    names = ["family", "claim", "says", "hessian_of", "estimate", "low", "high", "part", "verdict"]
    rows = [
        ("C1", "c1_trend", "it falls with gamma", "objective", 0.5, 0.1, 1.1, "rank", "supported"),
        ("C1", "c1_trend", "it falls with gamma", "cross_entropy", -0.8, -1, -0.6, "rank",
         "contradicted"),
        ("C3", "c3_hessian_trace", "it helps", None, np.nan, np.nan, np.nan, None, "not tested"),
    ]  # fmt: skip
    pooled = pd.DataFrame(rows, columns=names).assign(fragile=[True, False, False])
    module = plotting.load("across.pooled")
    figure = module.draw(module.prepare({"pooled": pooled}))
    (ax,) = figure.axes
    written = [text.get_text() for text in ax.texts]
    assert written == ["✓ supported !", "own loss", "✗ contradicted", "cross-entropy"]
    assert ax.get_yticklabels()[0].get_text() == "C1: it falls with γ"
    ends = [line.get_xdata() for line in ax.get_lines() if len(line.get_xdata()) == 2]
    assert max(np.max(x) for x in ends[:2]) == 1  # no correlation is beyond


@pytest.mark.parametrize("along", ["x", "y"])
@pytest.mark.parametrize(
    ("scale", "best", "kept", "failed", "text"),
    [
        ("linear", 0.0, [4.0, 5, 6], [72.0], "72"),
        ("linear", 100.0, [96.0, 95, 95], [20.0, 10], "2 runs, to 10"),
        ("log", 0.0, [40.0, 50, 60], [1.6], "1.6"),
        ("log", 0.0, [40.0, 50, 60], [600.0], "600"),
    ],
)
def test_runs_that_failed_do_not_set_the_axis_and_means_are_on_it(
    along, scale, best, kept, failed, text
):
    data = pd.DataFrame({"place": 1.0, "value": [*kept, *failed], "cell": "a"})
    ax = Figure().subplots()
    getattr(ax, f"set_{along}scale")(scale)
    common.bound_axis(ax, data, "place", "value", "cell", along=along, best=best)
    low, high = getattr(ax, f"get_{along}lim")()
    assert low < min(*kept, data["value"].mean()) and max(*kept, data["value"].mean()) < high
    assert not any(low <= value <= high for value in failed)
    assert [note.get_text() for note in ax.texts] == [text]


@pytest.mark.parametrize("high", [1.15, 1.9, 7, 40, 3e3, 1e9])
@pytest.mark.parametrize("low", [0.03, 1, 980])
@pytest.mark.parametrize("width", [1.1, 2.4, 7.5])
def test_labels_of_a_logarithmic_axis_are_apart_at_every_width(low, high, width):
    with mpl.rc_context(fname=STYLE):
        figure = Figure(figsize=(width, width))
        ax = figure.subplots()
        ax.set(xscale="log", yscale="log", xlim=(low, low * high), ylim=(low, low * high))
        common.plain_log_ticks(ax.xaxis)
        common.plain_log_ticks(ax.yaxis)
        figure.draw_without_rendering()
    apart(ax.xaxis)
    apart(ax.yaxis)
    assert len(ax.get_yticks()) > 1


def test_an_arm_has_one_colour_in_every_figure(runs):
    arms = plotting.load("arms")
    every = arms.arm_colours([])
    for name in ("arms", "refinement"):
        table = plotting.load(name).prepare({"runs": runs})
        assert arms.arm_colours(table["name"].iloc[::-1]).items() >= every.items()


@pytest.mark.parametrize("ends", [True, False])
def test_bars_stand_under_their_points_whichever_bins_are_empty(reliability, ends):
    low = reliability[reliability["bin"] == 0].drop(columns=[] if ends else "upper")
    module = plotting.load("reliability")
    data = module.prepare({"reliability": low})
    figure = module.draw(data)
    figure.draw_without_rendering()
    above, below = figure.axes
    across = [(ax.get_position().x0, ax.get_position().x1) for ax in (above, below)]
    assert across[0] == pytest.approx(across[1])
    bars = [bar.get_bbox() for bar in below.patches]
    assert bars[0].x0 < data["confidence"].iloc[0] <= bars[-1].x1 / 0.95  # where the bin ends
    if ends:
        assert bars[-1].x1 == pytest.approx(0.475)  # of two bins


def test_intervals_on_a_logarithmic_axis_stay_positive():
    data = pd.DataFrame({"gamma": [1.0] * 3, "value": [0.01, 1.0, 100.0]})
    ax = Figure().subplots()
    ax.set_yscale("log")
    common.seeds_and_mean(ax, data, "value", "k", "", 0)
    (bars,) = ax.containers
    low, high = bars.lines[2][0].get_segments()[0][:, 1]
    assert bars.lines[0].get_ydata()[0] == pytest.approx(1)
    assert low > 0 and low * high == pytest.approx(1)


def test_interventions_start_from_the_run_as_trained_and_psi_keeps_the_trace(tables):
    table = plotting.load("interventions").prepare(tables)
    one = table.query("model == 'cnn' and gamma == 2").set_index("control")
    assert list(one.index) == ["temperature", "dinh", "psi"]  # what is not applicable is left out
    assert (one["trace_before"] == 8).all()
    assert (one["ece_before"] == 0.05).all()
    assert one["trace"].tolist() == [4, 64, 8]


def test_closed_form_curves_meet_the_published_minimisers(tables):
    curves = plotting.load("posterior").prepare(tables).query("kind == 'two' and gamma == 3")
    assert np.interp(0.9, curves["true"], curves["confidence"]) == pytest.approx(0.647, abs=2e-3)


def test_closed_form_ratio_is_the_binary_one_where_two_classes_share(tables):
    table = plotting.load("logit_curvature").prepare(tables)
    assert set(table["kind"]) == {"sample", "one", "even"}
    one = table.query("model == 'cnn' and kind == 'one'")
    published = np.interp(np.log(9), one["log_odds"], one["ratio"])
    assert published == pytest.approx(0.086, abs=1e-3)
