"""The command line: help with examples, tables and files, mistakes in a line."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
import yaml
from torch import nn
from typer.testing import CliRunner

from focal_curvature import calibration, config, curvature, focal
from focal_curvature.cli.app import app

COMMANDS = typer.main.get_command(app).commands


def call(*arguments, ok=True):
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code == (0 if ok else 2), done.output
    if not ok:
        assert done.stdout == ""
        assert len(done.stderr.splitlines()) == 1, done.stderr
    return done.output


@pytest.mark.parametrize("name", COMMANDS)
def test_help_ends_with_an_example_that_the_command_takes(name):
    text = call(name, "--help")
    example = " ".join(text.rpartition("Example: ")[2].split())
    assert example.startswith(f"focal-curvature {name} ")
    COMMANDS[name].make_context(name, example.split()[2:])


# --- measure --------------------------------------------------------------------------------

MODULE = """
import torch
from torch import nn

def build(width=4):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, width), nn.ReLU(), nn.Linear(width, 2))

def broken():
    raise RuntimeError("no such thing")

def batches():
    return [(torch.ones(4, 3), torch.tensor([0, 1, 1, 0]))]
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Return a folder with a model of the user's own, weights and data, in which to work."""
    (tmp_path / "mine_for_cli.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(20, 3, generator=generator)
    y = torch.randint(2, (20,), generator=generator)
    np.savez("data.npz", inputs=x.numpy(), targets=y.numpy())
    model = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2))
    torch.save(model.state_dict(), "model.pt")
    torch.save({"model": model.state_dict(), "epoch": 3}, "checkpoint.pt")
    return model, x, y


@pytest.mark.parametrize("weights", ["model.pt", "checkpoint.pt"])
def test_measure_says_what_the_library_does(place, weights):
    model, x, y = place
    text = call(
        *("measure", "mine_for_cli:build", "--arguments", "{width: 5}", "--weights", weights),
        *("--data", "data.npz", "--loss", "focal:gamma=2", "--output", "found.json", "--k", "2"),
    )
    expected = curvature(model.eval(), (x, y), focal(2.0), k=2)
    found = json.loads(Path("found.json").read_text())
    assert found["trace"] == json.loads(json.dumps(expected.to_dict()["trace"]))
    assert found["loss"] == "focal:gamma=2"
    assert len(found["hessian"]["eigenvalues"]) == 2
    assert f"{expected.trace.estimate:.5g}" in text
    assert "0.weight" in text


def test_measure_takes_batches_from_a_function_and_a_part_of_the_parameters(place):
    text = call(
        *("measure", "mine_for_cli:build", "--data", "mine_for_cli:batches", "--parameters", "2")
    )
    assert "2.bias" in text
    assert "0.bias" not in text


BAD_MEASURE = {
    "no module": (["nowhere:build", "--data", "data.npz"], "nowhere"),
    "no such model": (["small_cn", "--data", "data.npz"], "did you mean small_cnn?"),
    "factory fails": (["mine_for_cli:broken", "--data", "data.npz"], "no such thing"),
    "bad arguments": (["mine_for_cli:build", "--arguments", "5", "--data", "data.npz"], "mapping"),
    "argument twice": (
        ["mine_for_cli:build", "--arguments", "{width: 4, width: 5}", "--data", "data.npz"],
        "--arguments: width: is there twice",
    ),
    "weights of another": (
        ["mine_for_cli:build", "--weights", "model.pt", "--data", "data.npz"],
        "0.weight is (5, 3), the model's (4, 3) (and 2 more)",
    ),
    "no weights": (["mine_for_cli:build", "--weights", "none.pt", "--data", "data.npz"], "none.pt"),
    "no data": (["mine_for_cli:build", "--data", "none.npz"], "none.npz"),
    "other arrays": (["mine_for_cli:build", "--data", "other.npz"], "inputs and targets"),
    "no arrays": (["mine_for_cli:build", "--data", "mine_for_cli.py"], "not an .npz"),
    "no loss": (["mine_for_cli:build", "--data", "data.npz", "--loss", "hinge"], "cross_entropy"),
    "loss's parameter": (
        ["mine_for_cli:build", "--data", "data.npz", "--loss", "focal:gamma=-1"], "gamma",
    ),
    "labels": (["mine_for_cli:build", "--data", "labels.npz"], "labels go from 0 to 7"),
    **{
        f"device {name}": (
            ["mine_for_cli:build", "--data", "data.npz", "--device", name], f"--device: '{name}'",
        )
        for name in ("tpu", "meta", "cuda:99")
    },
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_MEASURE)
def test_measure_tells_mistakes_in_a_line(place, case):
    _, x, y = place
    np.savez("other.npz", a=np.ones(3))
    np.savez("labels.npz", inputs=x.numpy(), targets=(y * 7).numpy())
    arguments, words = BAD_MEASURE[case]
    assert words in call("measure", *arguments, ok=False)


@pytest.mark.parametrize("option", ["--k", "--chunk"])
def test_measure_names_the_option_that_is_too_small(place, option):
    command = ["measure", "mine_for_cli:build", "--data", "data.npz", option, "0"]
    done = CliRunner().invoke(app, command)
    assert (done.exit_code, done.stdout) == (2, "")
    assert f"'{option}'" in done.stderr


def test_weights_of_the_users_own_are_told_what_they_are_and_kept(place):
    model, _, _ = place
    torch.save(model, "whole.pt")
    torch.save(model.state_dict(), "old.pt", _use_new_zipfile_serialization=False)
    Path("numbers.csv").write_text("a,b\n1,2\n")
    Path("cut.pt").write_bytes(Path("model.pt").read_bytes()[:300])
    for file in ("whole.pt", "old.pt", "numbers.csv", "cut.pt", "data.npz"):
        told = call(
            *("measure", "mine_for_cli:build", "--weights", file, "--data", "data.npz"), ok=False
        )
        what = "pickled model" if file == "whole.pt" else "no file of weights"
        assert f"{file}: is " in told and what in told
        assert "save model.state_dict()" in told
        assert "delete" not in told and "\x1b" not in told


# --- score ----------------------------------------------------------------------------------


@pytest.fixture
def logits(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    logits = 3 * generator.normal(size=(300, 4))
    labels = (logits + 3 * generator.gumbel(size=logits.shape)).argmax(1)
    parts = {"test_logits": logits[:200], "test_labels": labels[:200],
             "validation_logits": logits[200:], "validation_labels": labels[200:]}  # fmt: skip
    np.savez("run.npz", **parts)
    np.savez("plain.npz", logits=logits, labels=labels)
    np.savez("held.npz", logits=logits[200:], labels=labels[200:])
    np.savez("test.npz", logits=logits[:200], labels=labels[:200])
    return parts


def test_score_says_what_the_library_does_and_draws(logits):
    text = call(*("score", "run.npz", "--gamma", "2", "--output", "s.json", "--diagram", "d.png"))
    expected = calibration.score(*logits.values(), gamma=2.0)
    scores = json.loads(Path("s.json").read_text())
    assert scores["before"]["ece"] == expected.before.ece
    assert len(scores["reliability"]) == len(expected.reliability)
    row = next(line for line in text.splitlines() if re.match(r"ece +\d", line))
    assert f"{expected.before.ece:.4f}" in row
    assert f"{expected.after.ece:.4f}" in row
    assert Path("d.png").read_bytes().startswith(b"\x89PNG")


def test_score_takes_validation_from_another_file_or_a_half(logits):
    one, two = (call("score", *a) for a in (["run.npz"], ["test.npz", "--validation", "held.npz"]))
    assert one.splitlines()[1:] == two.splitlines()[1:]
    text = call("score", "plain.npz")
    assert "150 samples" in text
    assert "half" in text


BAD_SCORE = {
    "no file": (["none.npz"], "none.npz"),
    "no arrays": (["other.npz"], "logits and labels"),
    "lengths": (["lengths.npz"], "do not fit"),
    "other classes": (["test.npz", "--validation", "wide.npz"], "4 and 5 classes"),
    "not finite": (["nan.npz"], "nan.npz"),
    "diagram": (["run.npz", "--diagram", "d.jpg"], "d.jpg"),
}


@pytest.mark.parametrize("case", BAD_SCORE)
def test_score_tells_mistakes_in_a_line(logits, case):
    np.savez("other.npz", a=np.ones(3))
    np.savez("lengths.npz", logits=np.ones((5, 3)), labels=np.zeros(4, int))
    np.savez("wide.npz", logits=np.ones((5, 5)), labels=np.zeros(5, int))
    np.savez("nan.npz", logits=np.full((5, 3), np.nan), labels=np.zeros(5, int))
    arguments, words = BAD_SCORE[case]
    assert words in call("score", *arguments, ok=False)


# --- verify and new -------------------------------------------------------------------------

DIGITS = Path(__file__).parents[3] / "paper_figures/digits"


def test_verify_compares_and_says_so_by_its_status(tmp_path):
    parts = ("claims.json", "provenance.json", "tables")
    for name in ("reference", "fresh"):
        for part in parts:
            copy = shutil.copytree if (DIGITS / part).is_dir() else shutil.copy2
            (tmp_path / name).mkdir(exist_ok=True)
            copy(DIGITS / part, tmp_path / name / part)
    reference, fresh = tmp_path / "reference", tmp_path / "fresh"
    call("verify", fresh, "--reference", reference)
    claims = json.loads((fresh / "claims.json").read_text())
    for claim in claims["claims"]:
        claim["verdict"] = {"supported": "contradicted"}.get(claim["verdict"], "supported")
    (fresh / "claims.json").write_text(json.dumps(claims))
    done = CliRunner().invoke(app, ["verify", str(fresh), "--reference", str(reference)])
    assert done.exit_code == 1
    assert "summary.csv" in call("verify", tmp_path, "--reference", reference, ok=False)


@pytest.fixture
def images(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flowers/train/rose").mkdir(parents=True)
    return ["--source", "flowers", "--size", "16"]


def test_new_writes_a_configuration_that_is_accepted_and_says_what_it_costs(images):
    text = call(
        "new", "config/flowers.yaml", *images, "--seeds", "2", "--gamma", "0", "--gamma", "3"
    )
    complete = config.load(yaml.safe_load(Path("config/flowers.yaml").read_text()))
    assert complete["objectives"] == {"focal": {"gamma": [0, 3]}}
    assert complete["data"]["source"] == "flowers"
    assert "4 runs" in text
    assert "hours" in text
    assert "exists" in call("new", "config/flowers.yaml", *images, ok=False)


def test_new_keeps_a_long_path_with_spaces(images):
    source = Path(*["a folder with a name of several words"] * 4)
    (source / "train/rose").mkdir(parents=True)
    call("new", "config/flowers.yaml", "--source", source, "--size", "16")
    complete = config.load(yaml.safe_load(Path("config/flowers.yaml").read_text()))
    assert complete["data"]["source"] == str(source)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["config/f.yaml", "--source", "none", "--size", "16"], "none does not exist"),
        (["config/f.yaml", "--source", "flowers", "--size", "16", "--model", "lenett"], "lenet"),
        (["config/f.yaml", "--source", "flowers", "--size", "16", "--gamma", "-1"], "gamma"),
        (["config/F G.yaml", "--source", "flowers", "--size", "16"], "F G"),
    ],
)
def test_new_writes_nothing_that_would_be_refused(images, arguments, words):
    assert words in CliRunner().invoke(app, ["new", *arguments]).stderr
    assert not Path("config").exists()
