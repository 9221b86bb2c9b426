"""The README's verdicts and numbers are those of the committed experiments."""

import re

import exploratory
import pandas as pd
import pytest
import readme
import yaml

SECTIONS = readme.sections()
TEXT = (readme.ROOT / "README.md").read_text(encoding="utf-8")


def claim(model, verdict, effect="", **other):
    row = {"family": "C1", "says": "the trace falls", "hessian_of": "objective"}
    return row | {"model": model, "verdict": verdict, "effect": effect} | other


DIGITS = {
    "experiment": "digits",
    "claims": [
        claim("cnn", "contradicted", "ρ +0.71 [+0.50, +0.80]"),
        claim("resnet", "not tested"),
        claim(readme.ALL, "contradicted"),
        claim(readme.ALL, "inconclusive", "ρ +0.10 [-0.10, +0.30]", hessian_of="cross_entropy"),
    ],
}
MNIST = {"experiment": "mnist", "claims": [claim(readme.ALL, "supported")]}


@pytest.mark.parametrize(("path", "name"), SECTIONS)
def test_prose_says_what_is_committed(path, name):
    text = path.read_text(encoding="utf-8")
    assert readme.update(text, SECTIONS[path, name], name) == text, "run `make readme`"


def test_the_readme_is_short():
    assert len(TEXT.encode()) < 6 * 1024


def test_the_answer_is_no_stronger_than_the_verdicts():
    rows = [
        ("C1", "objective", "c1_trend", "supported", True),
        ("C1", "objective", "c1_trend", "inconclusive", False),
        ("C1", "cross_entropy", "c1_trend", "contradicted", False),
        ("C4", "objective", "c4_direct", "not tested", False),
    ]
    columns = ["family", "hessian_of", "claim", "verdict", "fragile"]
    pooled = pd.DataFrame(rows, columns=columns).assign(
        p_data_sets=[0.01, 0.3, 0.04, 0.01], measure="trace", outcome=None, part=None
    )
    answer = readme.render_answer(pooled, pd.DataFrame({"gamma 3": [-1.0, 2.0, None]}))
    assert "No." not in answer
    table = readme.render_pooled(pooled)
    assert f"| C1: {readme.answer.CLAIMS['c1_trend']} | ✓! ? | ✗ |  |" in table
    assert "that is trained: supported 1, inconclusive 1 of 2." in answer
    assert "at the same weights: contradicted 1 of 1." in answer
    assert "flattens: not tested" in answer.replace("*", "")
    words = " ".join(answer.split())
    assert "2 of C1's 3 tests are significant" in words
    assert "γ = 3 lowers ECE in 1 of 2 networks" in words


@pytest.mark.parametrize(
    ("mapped", "flattened", "no"),
    [("supported", "mixed", "No."), ("supported", "supported", ""), ("mixed", "mixed", "")],
)
def test_no_is_said_where_the_map_does_it_and_flattening_does_not(mapped, flattened, no):
    rows = [
        ("C5", "c5_map", None, None, mapped, 0.6, 0.5, 0.7),
        ("C4", "c4_direct", "trace", "objective", flattened, -0.25, -0.5, 0.0),
        ("C4", "c4_direct", "trace", "cross_entropy", "inconclusive", 0.4, 0.3, 0.5),
    ]
    columns = ["family", "claim", "measure", "hessian_of", "verdict", "estimate", "low", "high"]
    pooled = pd.DataFrame(rows, columns=columns).assign(
        outcome="confidence_gap", part="share above one half", effects=4
    )
    said, shares = readme.answer.headline(pooled)
    assert said == no
    assert re.findall(r"(\d+)% \[(\d+), (\d+); 4 networks\]", shares) == [
        ("110", "100", "120"), ("25", "0", "50"),
    ]  # fmt: skip
    assert readme.answer.headline(pooled[1:]) == ("", "")


def test_what_is_beyond_the_rules_is_of_the_committed_runs():
    made = exploratory.made()
    assert {file: file.read_text(encoding="utf-8") for file in made} == made, "run `make readme`"


def test_a_row_is_a_claim_and_a_column_an_experiment():
    rows = [line for line in readme.render([DIGITS, MNIST]).splitlines() if line.startswith("|")]
    assert rows[0] == "| Claim | Hessian of | digits | mnist |"
    assert rows[2] == (
        "| C1: the trace falls | training objective | "
        "**contradicted**<br>✗ cnn ρ +0.71 [+0.50, +0.80] | **supported** |"
    )
    assert rows[3].endswith("| cross-entropy | **inconclusive** ρ +0.10 [-0.10, +0.30] |  |")


def test_only_the_section_changes_and_twice_is_once():
    once = readme.update(TEXT, "one\n")
    assert once != TEXT and readme.update(once, "one\n") == once
    assert once.startswith(TEXT.partition(readme.begin(""))[0])
    assert once.endswith(TEXT.partition(readme.END)[2])


def test_published_numbers_are_those_of_three_losses_before_and_after_scaling():
    published = pd.read_csv(readme.ROOT / "docs/published.csv")
    assert published["flsd"].notna().all()
    lacking = published[published["focal3"].isna()]
    assert list(zip(lacking["data"], lacking["network"], strict=True)) == [
        ("CIFAR-100", "ResNet-50")
    ]


def test_numbers_stand_beside_published_ones():
    values = {"accuracy": 0.9, "ece": 0.05, "ece_scaled": 0.012, "noise_floor": 0.01}
    summary = pd.DataFrame(
        [["cnn", "ce", metric, mean, mean + 0.004] for metric, mean in values.items()]
        + [["cnn", "ce", "temperature", 1.5, 1.6]]
        + [["cnn", "flsd", *row] for row in (("ece", 0.02, 0.022), ("ece_scaled", 0.01, 0.011))]
        + [["cnn", "flsd", "temperature", 0.9, 1.0]],
        columns=["model", "objective", "metric", "mean", "high"],
    )
    published = pd.DataFrame(
        [["A et al.", "CIFAR-10", "ResNet", "4.35 → 1.35 (T 2.5)", None, "1.55"]],
        columns=["source", "data", "network", "ce", "focal3", "flsd"],
    )
    table = readme.render_numbers({"mine": summary}, published).splitlines()
    ours = (
        "| mine | cnn | 90.0 ± 0.4 | 5.0 ± 0.4 → 1.2 ± 0.4 (T 1.5) |  "
        "| 2.0 ± 0.2 → 1.0 ± 0.1 (T 0.9) | 1.0 ± 0.4 |"
    )
    theirs = "| CIFAR-10 (A et al.) | ResNet |  | 4.35 → 1.35 (T 2.5) |  | 1.55 |  |"
    assert table.index(theirs) == table.index(ours) + 1


def test_numbers_in_the_answers_words_are_those_of_the_rules():
    file = readme.ROOT / "workflow/claims.yaml"
    rules = yaml.safe_load(file.read_text(encoding="utf-8"))["claims"]
    assert readme.answer.CLAIMS.keys() == rules.keys()
    for name, words in readme.answer.CLAIMS.items():
        single = [int(gamma) for gamma in re.findall(r"γ = ([1-9]\d*)", words)]
        most = [int(gamma) for gamma in re.findall(r"γ = 0 to (\d+)", words)]
        assert single in ([], rules[name].get("gammas")), name
        assert most in ([], [rules[name].get("up_to")]), name
