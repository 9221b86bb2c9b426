"""Size and power of the rules of workflow/claims.yaml, by simulation: make docs/rules.md's table.

Synthetic experiments have the dependence that ours have: runs of a seed share what its initial
weights and batches do to curvature and to calibration; every seed is there at every gamma and
strength; curvature is measured with error, on two halves of the images. Spreads are those of the
committed experiments, about the middle of them.

    python benchmarks/rules.py [draws]
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from focal_curvature.analysis import claims
from focal_curvature.analysis.evidence import CONTRADICTED, NEGLIGIBLE, SUPPORTED, Evidence
from focal_curvature.analysis.pooled import pool, sides_of
from focal_curvature.files import write_json

ROOT = Path(__file__).resolve().parents[1]
RULES = yaml.safe_load((ROOT / "workflow/claims.yaml").read_text(encoding="utf-8"))
BEGIN, END = "<!-- made by benchmarks/rules.py -->\n", "<!-- end of the table -->\n"

GAMMAS = (0.0, 1.0, 3.0, 5.0)
STRENGTHS = (1e-4, 3e-4, 1e-3, 3e-3)
MODELS = ("one", "two")
CURVATURES = ("trace_objective", "trace_cross_entropy", "top_eigenvalue_objective",
              "top_eigenvalue_cross_entropy", "adaptive_sharpness_objective",
              "adaptive_sharpness_cross_entropy")  # fmt: skip
# Each outcome by its smallest effect, so that all have the same truth.
_LEAST = {name: about["smallest_effect"] for name, about in RULES["outcomes"].items()}
SCALE = {
    name: _LEAST[name] / _LEAST["calibration_error_debiased"]
    for name in ("calibration_error_debiased", "nll_calibration", "confidence_gap", "ece")
}


@dataclass(frozen=True)
class Truth:
    """What synthetic runs are drawn from.

    Attributes
    ----------
    gamma_curvature, penalty_curvature : tuple
        Mean logarithm of curvature at each of `GAMMAS` and `STRENGTHS`.
    gamma_outcome, penalty_outcome : tuple
        Mean outcome at each, beside what curvature does to it.
    slope : float
        Of the outcome on the logarithm of curvature, from arm to arm and from run to run.
    within : float
        Correlation of outcome and curvature over runs of an arm, where `slope` is 0.
    tilt : float
        Spread over seeds of a slope of log curvature on gamma / 5.
    accuracy, refinement : float
        What the penalty does to accuracy, and to the logarithm of refinement.
    mapped : float
        Share of gamma's effect on the outcome that is undone with focal loss's map.
    """

    gamma_curvature: tuple[float, ...] = (0.0,) * 4
    penalty_curvature: tuple[float, ...] = (-0.2, -0.5, -1.0, -1.5)
    gamma_outcome: tuple[float, ...] = (0.01,) * 4
    penalty_outcome: tuple[float, ...] = (0.01,) * 4
    slope: float = 0.0
    within: float = 0.0
    tilt: float = 0.0
    accuracy: float = 0.0
    refinement: float = 0.0
    mapped: float = 0.0


SPREAD = 0.15  # of log curvature over seeds at an arm; .03 to .4 in the committed experiments
SEED_PART = 0.3  # of the variance that runs of a seed share, in curvature and outcome
MEASURED = 0.075  # error of log curvature: a reliability of .8
NOISE = 0.0006  # of the outcome over seeds; .0003 to .002


def experiment(truth: Truth, seeds: int, seed: int) -> pd.DataFrame:
    """Draw the runs of an experiment, as in ``runs.csv``."""
    generator = np.random.default_rng(seed)
    normal = generator.standard_normal
    curvature = np.array(truth.gamma_curvature + truth.penalty_curvature)
    outcome = np.array(truth.gamma_outcome + truth.penalty_outcome)
    arms = len(curvature)
    penalty = np.repeat([0.0, 1.0], [len(GAMMAS), len(STRENGTHS)])
    gammas = np.array(GAMMAS + (0.0,) * len(STRENGTHS))

    def spread() -> np.ndarray:
        """Draw standard normal numbers (seeds, arms) of which a seed's share a part."""
        return SEED_PART**0.5 * normal((seeds, 1)) + (1 - SEED_PART) ** 0.5 * normal((seeds, arms))

    parts = []
    for model in MODELS:
        own = spread()
        latent = curvature + SPREAD * own + truth.tilt * normal((seeds, 1)) * gammas / 5
        row: dict[str, Any] = {
            "seed": np.repeat(np.arange(seeds), arms),
            "gamma": np.tile(np.where(penalty, np.nan, gammas), seeds),
            "strength": np.tile(np.r_[[np.nan] * len(GAMMAS), STRENGTHS], seeds),
            "regulariser": np.tile(
                np.array([None] * len(GAMMAS) + ["gauss_newton_trace"] * len(STRENGTHS)), seeds
            ),
            "loss": np.tile(np.where(penalty, "cross_entropy", "focal"), seeds),
            "status": "completed",
            "model": model,
        }
        for column in CURVATURES:
            halves = [latent + 2**0.5 * MEASURED * normal(latent.shape) for _ in range(2)]
            row[column] = np.exp((halves[0] + halves[1]) / 2).ravel()
            row |= {f"{column}_half{i}": np.exp(half).ravel() for i, half in enumerate(halves, 1)}
        for column in SCALE:
            rest = truth.within * own + (1 - truth.within**2) ** 0.5 * spread()
            values = outcome + truth.slope * (latent - curvature[0]) + NOISE * rest
            row[column] = SCALE[column] * values.ravel()
            undone = values - truth.mapped * (outcome - outcome[0])
            row[f"{column}_psi"] = SCALE[column] * undone.ravel()
        row["accuracy"] = (0.9 + truth.accuracy * penalty + 0.004 * spread()).ravel()
        refinement = truth.refinement * penalty + 0.01 * spread()
        row["nll_refinement"] = 0.3 * np.exp(refinement).ravel()
        row["train_accuracy"] = (0.95 + 0.01 * spread()).ravel()
        parts.append(pd.DataFrame(row))
    return pd.concat(parts, ignore_index=True)


@dataclass(frozen=True)
class Scenario:
    """A truth, and what a claim may say of it.

    Attributes
    ----------
    claim : str
    name : str
        The truth in words.
    truth : Truth
    kind : {"none", "smallest", "effect"}
        Without an effect a claim may hardly ever be supported; at the smallest effect it may
        hardly ever be excluded; at the effect of its `power` it must be supported.
    value : float, optional
        The true effect, on the scale of the analysis, for the interval's coverage.
    """

    claim: str
    name: str
    truth: Truth
    kind: str
    value: float | None = None


def _falling(by: float) -> tuple[float, ...]:
    return tuple(-by * gamma / 3 for gamma in GAMMAS)


def _because(share: float, total: float = -0.008, fall: float = 0.5) -> Truth:
    """Gamma 3 changes the outcome by `total`, a share of it through curvature."""
    gamma = tuple(0.01 + (1 - share) * total * g / 3 for g in GAMMAS)
    return Truth(_falling(fall), gamma_outcome=gamma, slope=-share * total / fall)


def _penalty(gain: float, **other: float) -> Truth:
    """Lower the outcome by `gain` at the two middle strengths of a penalty, half elsewhere."""
    outcome = tuple(0.01 - gain * part for part in (0.5, 1, 1, 0.5))
    return Truth(penalty_outcome=outcome, **other)


def _bowl(depth: float, rise: float = 0.0) -> Truth:
    """Make an outcome lowest at gamma 1 and 3, by `depth`; the last end is `rise` higher."""
    return Truth(gamma_outcome=(0.01, 0.01 - depth, 0.01 - depth, 0.01 + rise))


def scenarios() -> Iterator[Scenario]:
    """Yield every truth that the rules are tried on."""
    power = {name: claim["power"]["effect"] for name, claim in RULES["claims"].items()
             if "power" in claim}  # fmt: skip
    least = RULES["claims"]["c1_ratio"]["smallest_effect"]
    for name in ("c1_ratio", "c1_trend"):
        fall = power[name]
        ratio = name == "c1_ratio"
        yield Scenario(name, "no change with gamma", Truth(), "none", 0.0)
        yield Scenario(name, "slopes of seeds, mean 0", Truth(tilt=0.5), "none", 0.0)
        if ratio:
            truth = Truth(_falling(least))
            yield Scenario(name, "the smallest fall", truth, "smallest", -least)
        truth = Truth(_falling(fall))
        yield Scenario(name, f"a fall by {fall:g} (log) at gamma 3", truth, "effect",
                       -fall if ratio else None)  # fmt: skip
    name, opposed = "c2_within_gamma", (0.01, 0.008, 0.004, 0.001)
    moved = Truth(_falling(2), gamma_outcome=opposed)
    yield Scenario(name, "none", Truth(), "none", 0.0)
    yield Scenario(name, "both fall with gamma, none at equal gamma", moved, "none", 0.0)
    r = power[name]
    least = RULES["claims"][name]["smallest_effect"]
    yield Scenario(
        name, "the smallest correlation", replace(moved, within=least), "smallest", least
    )
    yield Scenario(name, f"a correlation of {r:g}", replace(moved, within=r), "effect", r)
    name, depth = "c2_best_gamma", power["c2_best_gamma"]
    falls = Truth(_falling(2), gamma_outcome=opposed, within=-0.6)
    least = RULES["outcomes"]["calibration_error_debiased"]["smallest_effect"]
    yield Scenario(name, "flat", Truth(), "none")
    yield Scenario(name, "falls throughout, -.6 within gamma", falls, "none")
    yield Scenario(name, "falls to a plateau", _bowl(0.006, -0.006), "none")
    yield Scenario(name, "the smallest bowl", _bowl(least), "smallest")
    yield Scenario(name, f"a bowl of {1e4 * depth:g} pp²", _bowl(depth), "effect")
    name = "c2_best_strength_gauss_newton"
    falls = Truth(penalty_outcome=(0.008, 0.006, 0.004, 0.002))
    bowl = Truth(penalty_outcome=(0.01 - depth, 0.01 - depth, 0.01, 0.01 + depth))
    yield Scenario(name, "falls throughout", falls, "none")
    yield Scenario(name, f"a bowl of {1e4 * depth:g} pp²", bowl, "effect")
    name, gain = "c3_gauss_newton_trace", power["c3_gauss_newton_trace"]
    yield Scenario(name, "no gain", _penalty(0.0), "none")
    yield Scenario(name, "a gain, accuracy at the margin", _penalty(0.005, accuracy=-0.01), "none")
    refined = _penalty(0.005, refinement=float(np.log(1.02)))
    yield Scenario(name, "a gain, refinement at the margin", refined, "none")
    still = replace(_penalty(0.005), penalty_curvature=(0.0,) * 4)
    yield Scenario(name, "a gain, curvature as it was", still, "none")
    yield Scenario(name, "the smallest gain", _penalty(least), "smallest")
    yield Scenario(name, f"a gain of {1e4 * gain:g} pp²", _penalty(gain), "effect")
    for name in ("c4_direct", "c4_mediation", "c4_because"):
        value = 0.5 if name != "c4_because" else None
        yield Scenario(name, "half of the effect", _because(0.5), "none", value)
        yield Scenario(name, "none of the effect", _because(0.0), "none", value and 0.0)
        raised = _because(1.0, fall=-0.5)
        yield Scenario(name, "all of the effect, by curvature that rises", raised, "none")
        yield Scenario(name, "all of the effect", _because(1.0), "effect", value and 1.0)
    for text, part in (("half", 0.5), ("none", 0.0), ("all", 1.0)):
        truth = replace(_because(0.0), mapped=part)
        kind = "effect" if part == 1 else "none"
        yield Scenario("c5_map", f"{text} of the effect", truth, kind, part)


def rules_of(claim: str, resamples: int) -> dict[str, Any]:
    """Return the rules with one claim alone, or with those that it combines."""
    names = [*RULES["claims"][claim].get("of", {}).values(), claim]
    kept = {name: RULES["claims"][name] | {"outcomes_beside": []} for name in names}
    for name in names:
        kept[name].pop("gammas_beside", None)
    return RULES | {"claims": kept, "resamples": resamples}


def trial(scenario: Scenario, seeds: int, resamples: int, seed: int) -> dict[str, float]:
    """Judge one synthetic experiment; return shares over the tests of its first model.

    Keys: single (p below alpha in the claimed direction, uncorrected), supported, excluded
    (contradicted or negligible), covered (the interval holds the truth; NaN where none is given).
    """
    rules = rules_of(scenario.claim, resamples)
    runs = experiment(scenario.truth, seeds, seed)
    found = claims.evaluate(claims.prepare(runs, rules), rules, seed)
    deciding = [
        judgement
        for (key, model), judgement in found.items()
        if (key[0], key[-1], model) == (scenario.claim, "decides", MODELS[0])
    ]
    direction = -1 if RULES["claims"][scenario.claim].get("direction") == "falls" else 1
    verdicts = [judgement.verdict for judgement in deciding]
    covered = [
        judgement.evidence.low <= scenario.value <= judgement.evidence.high
        for judgement in deciding
        if isinstance(judgement.evidence, Evidence) and scenario.value is not None
    ]
    claimed = [
        judgement.evidence.p < rules["alpha"]
        and direction * (judgement.evidence.estimate - judgement.evidence.null) > 0
        for judgement in deciding
        if isinstance(judgement.evidence, Evidence)
    ]
    return {
        "single": float(np.mean(claimed)) if claimed else np.nan,
        "supported": float(np.mean([verdict == SUPPORTED for verdict in verdicts])),
        "excluded": float(np.mean([verdict in (CONTRADICTED, NEGLIGIBLE) for verdict in verdicts])),
        "covered": float(np.mean(covered)) if covered else np.nan,
    }


def rates(
    scenario: Scenario, seeds: int, draws: int, resamples: int = 499, run: Callable = map
) -> dict[str, float | None]:
    """Return the mean of `trial` over draws; None where there is none, as in JSON."""
    work = partial(trial, scenario, seeds, resamples)
    means = pd.DataFrame(list(run(work, range(draws)))).mean()
    return {rate: None if np.isnan(mean) else mean for rate, mean in means.items()}


def table(found: list[Mapping[str, Any]]) -> str:
    """Lay the rates out in Markdown."""
    head = "| claim | truth | seeds | draws | single | supported | excluded | covered | wanted |"
    lines = [head, "|---" * 9 + "|"]
    wanted = {"none": "supported ≤ 2.5", "smallest": "excluded ≤ 2.5", "effect": "supported ≥ 90"}
    for row in found:
        rates = [row[key] for key in ("single", "supported", "excluded", "covered")]
        shares = ["" if rate is None else f"{100 * rate:.1f}" for rate in rates]
        cells = [row["claim"], row["truth"], str(row["seeds"]), str(row["draws"]), *shares]
        lines.append("| " + " | ".join([*cells, wanted[row["kind"]]]) + " |")
    return "\n".join(lines) + "\n"


def printed(content: Mapping[str, Any]) -> str:
    """Lay the tables out in Markdown."""
    parts = [
        table(content["rates"]),
        REPLICATES,
        replication_table(content["replication"]),
        POOLS,
        pooling_table(content["pooled"]),
    ]
    return "\n".join(parts)


REPLICATES = """Replication probabilities of C1's ratio in percent: stated by the bootstrap of one
experiment (mean), and actual, how often two independent experiments agree in the verdict on a
network.
"""


def replication(fall: float, seeds: int, draws: int) -> dict[str, float]:
    """Hold C1's replication probability against how often new seeds give the verdict again.

    Returns
    -------
    dict
        ``stated``: the mean replication probability over draws; ``actual``: the share of pairs of
        draws that have the same verdict on a model.
    """
    claim = RULES["claims"]["c1_ratio"] | {"measures": ["trace"], "hessian_of": ["objective"]}
    claim.pop("gammas_beside")
    rules = RULES | {"claims": {"c1_ratio": claim}}
    truth, stated, verdicts = Truth(_falling(fall)), [], []
    for seed in range(draws):
        row = claims.judge(experiment(truth, seeds, seed), rules, str(seed)).iloc[0]
        stated.append(row["replication"])
        verdicts.append(row["verdict"])
    shares = pd.Series(verdicts).value_counts() / draws
    actual = (draws * (shares**2).sum() - 1) / (draws - 1)
    setting = {"fall": fall, "seeds": seeds, "draws": draws}
    return setting | {"stated": float(np.mean(stated)), "actual": float(actual)}


def replication_table(found: list[Mapping[str, Any]]) -> str:
    """Lay the replication probabilities out in Markdown."""
    lines = ["| fall (log) at gamma 3 | seeds | draws | stated | actual |", "|---" * 5 + "|"]
    for row in found:
        numbers = [f"{100 * row[key]:.0f}" for key in ("stated", "actual")]
        lines.append(
            f"| {row['fall']:g} | {row['seeds']} | {row['draws']} | {' | '.join(numbers)} |"
        )
    return "\n".join(lines) + "\n"


def pooling(networks: int, tau: float, seeds: int, draws: int) -> dict[str, float]:
    """Pool synthetic effects of mean zero that differ among networks by `tau` times their error.

    Errors are estimated from so many seeds and differ by up to a factor of four.

    Returns
    -------
    dict
        ``size``: share of p below .05; ``covered``: share of intervals that hold zero; ``split``:
        of draws in which networks' own tests speak for and against, so that the verdict is mixed
        where the mean decides nothing.
    """
    generator = np.random.default_rng([networks, seeds, int(100 * tau)])
    small, covered, split = [], [], []
    for _ in range(draws):
        true = generator.uniform(0.5, 2, networks)
        values = generator.standard_normal((seeds, networks)) * true * seeds**0.5
        values += tau * generator.standard_normal(networks)
        errors = values.std(axis=0, ddof=1) / seeds**0.5
        found = pool(values.mean(axis=0), errors)
        small.append(found.p < 0.05)
        covered.append(found.low <= 0 <= found.high)
        split.append(all(sides_of(values.mean(axis=0), errors, [seeds] * networks, RULES["alpha"])))
    setting = {"networks": networks, "tau": tau, "seeds": seeds, "draws": draws}
    rates = {"size": small, "covered": covered, "split": split}
    return setting | {name: float(np.mean(hits)) for name, hits in rates.items()}


def pooling_table(found: list[Mapping[str, Any]]) -> str:
    """Lay the rates of the meta-analysis out in Markdown."""
    lines = ["| networks | tau | seeds | draws | p < .05 | covered | split |", "|---" * 7 + "|"]
    for row in found:
        shares = [f"{100 * row[key]:.1f}" for key in ("size", "covered", "split")]
        cells = [str(row["networks"]), f"{row['tau']:g}", str(row["seeds"]), str(row["draws"])]
        lines.append("| " + " | ".join([*cells, *shares]) + " |")
    return "\n".join(lines) + "\n"


POOLED = ((3, 0.0, 5), (3, 2.0, 5), (8, 0.0, 5), (8, 2.0, 5), (8, 2.0, 20), (8, 10.0, 20))
POOLS = """The meta-analysis where the mean effect is zero, in percent; tau is the spread of effects
among networks, in units of their mean standard error; split, that networks' own tests speak for and
against after Holm.
"""
REPLICATED = ((0.0, 10), (0.1, 10), (0.15, 10), (0.25, 10), (0.4, 5))


def main() -> None:
    """Simulate, and write benchmarks/results/rules.json and the table of docs/rules.md."""
    parser = argparse.ArgumentParser()
    parser.add_argument("draws", type=int, nargs="?", default=400)
    draws = parser.parse_args().draws
    found = []
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        run = partial(pool.map, chunksize=8)
        for scenario in scenarios():
            power = RULES["claims"][scenario.claim].get("power", {"seeds": 20})
            for seeds in sorted({5, power["seeds"]} if scenario.kind == "none" else
                                {power["seeds"]}):  # fmt: skip
                row = {"claim": scenario.claim, "truth": scenario.name, "kind": scenario.kind}
                row |= {"seeds": seeds, "draws": draws}
                found.append(row | rates(scenario, seeds, draws, run=run))
                print(found[-1], flush=True)
        falls, counts = zip(*REPLICATED, strict=True)
        again = list(pool.map(replication, falls, counts, [draws] * len(falls)))
    pooled = [pooling(*setting, 10 * draws) for setting in POOLED]
    content = {"rates": found, "replication": again, "pooled": pooled}
    write_json(ROOT / "benchmarks/results/rules.json", content)
    page = ROOT / "docs/rules.md"
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    text = before + BEGIN + printed(content) + END + rest.partition(END)[2]
    page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
