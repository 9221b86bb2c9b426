"""Make arrays of one's own with a known posterior: which of nine languages a word is of.

A language is drawn, each as often, then a word of its Debian word list, without accents. A word of
several lists is truly ambiguous, and how much so is known: a language's share of the posterior is
one over the length of its list. Hence predictions, recalibrated or with focal loss's map Psi
undone, can be held against the truth and not against labels alone. From the repository's root:

    apt-get install wamerican wngerman wfrench witalian wspanish wportuguese wdutch wdanish wswedish
    export PYTHONPATH=src
    python examples/word_languages.py make /usr/share/dict data/words.npz
    snakemake paper_figures/words/runs.csv --cores 2 --configfile examples/word_languages.yaml
    python examples/word_languages.py compare data/words.npz results/words
"""

from __future__ import annotations

import argparse
import json
import unicodedata
from pathlib import Path

import numpy as np
from scipy.special import xlogy

from focal_curvature.calibration import fit_temperature, log_psi, log_softmax
from focal_curvature.trained import TrainedRun

LANGUAGES = {
    "american-english": "utf-8",
    "danish": "utf-8",
    "dutch": "utf-8",
    "french": "utf-8",
    "italian": "utf-8",
    "ngerman": "utf-8",
    "portuguese": "utf-8",
    "spanish": "utf-8",
    "swedish": "latin-1",
}
LETTERS = "abcdefghijklmnopqrstuvwxyz"
LENGTHS = range(3, 11)


def plain(word: str) -> str:
    """Return a word in lower case, its letters without accents."""
    parts = unicodedata.normalize("NFKD", word.strip().lower())
    return "".join(c for c in parts if not unicodedata.combining(c))


def read(folder: Path) -> list[list[str]]:
    """Return every language's words of 3 to 10 letters a to z, sorted, each once."""
    lists = []
    for language, encoding in LANGUAGES.items():
        words = set(map(plain, (folder / language).read_text(encoding).splitlines()))
        lists.append(sorted(w for w in words if len(w) in LENGTHS and set(w) <= set(LETTERS)))
    return lists


def encode(words: list[str]) -> np.ndarray:
    """Return words as vectors (N, 260), bytes: a one per position and letter."""
    vectors = np.zeros((len(words), max(LENGTHS), len(LETTERS)), dtype=np.uint8)
    for vector, word in zip(vectors, words, strict=True):
        vector[range(len(word)), [LETTERS.index(letter) for letter in word]] = 1
    return vectors.reshape(len(words), -1)


def make(folder: Path, output: Path, samples: int, seed: int) -> None:
    """Draw words and write the arrays, and their posterior beside them."""
    lists = read(folder)
    density: dict[str, np.ndarray] = {}
    for k, words in enumerate(lists):
        for word in words:
            density.setdefault(word, np.zeros(len(lists)))[k] = 1 / len(words)
    generator = np.random.default_rng(seed)
    languages = generator.integers(len(lists), size=samples)
    words = [lists[k][generator.integers(len(lists[k]))] for k in languages]
    posterior = np.stack([density[word] / density[word].sum() for word in words])
    output.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(output, inputs=encode(words), labels=np.array([*LANGUAGES])[languages])
    np.savez_compressed(posterior_of(output), posterior=posterior, words=np.array(words))
    ambiguous = float((posterior.max(axis=1) < 1).mean())
    best = float(posterior.max(axis=1).mean())
    print(f"{samples} words, {ambiguous:.1%} of several languages: at best {best:.1%} are right")


def posterior_of(arrays: Path) -> Path:
    """Return where the posterior of a file of arrays is."""
    return arrays.with_name(f"{arrays.stem}_posterior.npz")


def compare(words: Path, results: Path) -> None:
    """Print how far every run's predictions are from the posterior, as they are and mended."""
    splits = json.loads((results / "splits.json").read_text())
    with np.load(posterior_of(words)) as content:
        truth = content["posterior"][splits["test"]]
    # xlogy: a language that a word is not of adds nothing
    entropy = -xlogy(truth, truth).sum(axis=1).mean()
    print("mean Kullback-Leibler divergence from the posterior, nats")
    for file in sorted(results.glob("*/*/seed*/run.json")):
        run = TrainedRun(file.parent)
        if not run.completed:
            continue
        arrays = run.logits()
        logits = arrays["test_logits"].astype(np.float64)
        fitted = fit_temperature(arrays["validation_logits"], arrays["validation_labels"])
        variants = {"raw": log_softmax(logits), "scaled": log_softmax(logits / fitted.value)}
        if gamma := run.spec.objective.gamma:
            variants["psi"] = log_psi(variants["raw"], gamma)
        distances = (
            f"{name} {-(truth * values).sum(axis=1).mean() - entropy:.3f}"
            for name, values in variants.items()
        )
        print(run.spec.folder, *distances)


def main() -> None:
    """Run one of the two commands."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    maker = commands.add_parser("make", help="draw words, write arrays")
    maker.add_argument("folder", type=Path, help="of the word lists")
    maker.add_argument("output", type=Path, help="the .npz file to write")
    maker.add_argument("--samples", type=int, default=30_000)
    maker.add_argument("--seed", type=int, default=0)
    comparer = commands.add_parser("compare", help="hold runs against the posterior")
    comparer.add_argument("words", type=Path, help="the .npz file that was written")
    comparer.add_argument("results", type=Path, help="the folder of the experiment's results")
    arguments = vars(parser.parse_args())
    {"make": make, "compare": compare}[arguments.pop("command")](**arguments)


if __name__ == "__main__":
    main()
