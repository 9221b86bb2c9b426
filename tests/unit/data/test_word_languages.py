"""The example of arrays of one's own: its posterior and encoding; the library reads it."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from focal_curvature.data import arrays, numbers
from focal_curvature.files import sha256, write_json
from focal_curvature.runs import Objective, RunSpec
from focal_curvature.settings.training import Training

FILE = Path(__file__).parents[3] / "examples/word_languages.py"


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("word_languages", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def made(example, tmp_path):
    """Lists of ten words each; the first two languages share two, one by its accent alone."""
    for k, (language, encoding) in enumerate(example.LANGUAGES.items()):
        own = [f"{letter}{'bcdefghij'[k]}zz" for letter in "abcdefgh"]
        shared = ["gem", "caf\u00e9" if k else "cafe"] if k < 2 else [f"x{'cdefghi'[k - 2]}x", "oo"]
        (tmp_path / language).write_text("\n".join([*own, *shared, "it's"]), encoding)
    example.make(tmp_path, tmp_path / "words.npz", samples=600, seed=0)
    return tmp_path / "words.npz"


def test_posterior_is_the_share_of_the_lists(example, made):
    with np.load(example.posterior_of(made)) as content:
        posterior, words = content["posterior"], content["words"]
    assert not {"oo", "it's"} & set(words)
    np.testing.assert_allclose(posterior.sum(axis=1), 1)
    for word, row in zip(words, posterior, strict=True):
        assert row[:2].tolist() == ([0.5, 0.5] if word in ("gem", "cafe") else row[:2].tolist())
        assert (row.max() == 1) == (word not in ("gem", "cafe"))
    with np.load(made) as content:
        inputs, labels = content["inputs"], content["labels"]
    assert (inputs.sum(axis=1) == [len(word) for word in words]).all()
    drawn = [posterior[i, [*example.LANGUAGES].index(label)] for i, label in enumerate(labels)]
    assert min(drawn) == 0.5


def test_predictions_that_are_the_posterior_are_at_no_distance(example, made, tmp_path, capsys):
    numbers.decode(made, tmp_path / "data", name="words", label=None)
    assert arrays.read(tmp_path / "data").images.shape == (600, 260, 1, 1)
    with np.load(example.posterior_of(made)) as content:
        logits = np.log(np.maximum(content["posterior"], 1e-9))
    results = tmp_path / "results"
    run = results / "mlp/ce/seed0"
    run.mkdir(parents=True)
    splits = {"test": list(range(300)), "validation": list(range(300, 600))}
    (results / "splits.json").write_text(json.dumps(splits))
    labels = arrays.read(tmp_path / "data").labels
    np.savez(
        run / "logits.npz",
        test_logits=logits[:300],
        validation_logits=logits[300:],
        validation_labels=labels[300:],
    )
    objective = Objective("focal", "focal_curvature.losses.focal:focal", {"gamma": 2})
    training = Training(epochs=1, batch_size=1, learning_rate=0.1)
    spec = RunSpec("words", "mlp", "own:mlp", {}, objective, 0, training)
    record = {
        "spec": spec.to_dict(),
        "status": "completed",
        "sha256": {"logits.npz": sha256(run / "logits.npz")},
    }
    write_json(run / "run.json", record)
    example.compare(made, results)
    line = capsys.readouterr().out.splitlines()[-1].split()
    found = dict(zip(line[1::2], map(float, line[2::2]), strict=True))
    assert found["raw"] == found["psi"] == 0  # Psi leaves .5 and .5 alone
    assert 0 <= found["scaled"] < 0.1
