"""Train ten networks here and say whether their weights are those of other machines, to the bit.

Trains two cells of the default experiment, five seeds each, with native and with portable kernels,
and compares hashes with ``docs/bits.csv``; ``--record`` adds this machine's. Exit status 1 where
the portable ones are others than those recorded.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd
import torch

ROOT = Path(__file__).resolve().parents[1]
RECORD = ROOT / "docs/bits.csv"
CELLS = ("small_cnn/ce", "small_resnet/focal-3")
KEYS = ["kernels", "cell", "seed"]


def weights_hash(file: Path) -> str:
    """Return the first 16 digits of SHA-256 over names and bytes of a state's tensors, by name."""
    state = torch.load(file, map_location="cpu", weights_only=True)
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        digest.update(name.encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def train(kernels: str) -> pd.DataFrame:
    """Train all cells in a temporary folder; return ``KEYS``, hash and processor per network."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        runs = [f"results/digits/{cell}" for cell in CELLS]
        subprocess.run(
            [
                *(sys.executable, "-m", "snakemake", "--cores", "1", "--quiet", "all"),
                *("--snakefile", ROOT / "Snakefile", "--directory", folder),
                *(f"{run}/seed0/model.pt" for run in runs),
                *("--configfile", ROOT / "config.yaml", "--config", f"kernels={kernels}"),
            ],
            check=True,
        )
        for cell, run in zip(CELLS, runs, strict=True):
            for file in sorted(Path(folder, run).glob("seed*/model.pt")):
                seed = int(file.parent.name.removeprefix("seed"))
                record = pd.read_json(file.with_name("run.json"), typ="series")
                rows.append([kernels, cell, seed, weights_hash(file), record["processor_id"]])
    return pd.DataFrame(rows, columns=[*KEYS, "hash", "processor"])


def main() -> int:
    """Compare and print; return the exit status."""
    known = (
        pd.read_csv(RECORD, dtype={"hash": str})
        if RECORD.exists()
        else pd.DataFrame(columns=[*KEYS, "hash"])
    )
    here = pd.concat([train(kernels) for kernels in ("native", "portable")], ignore_index=True)
    both = here.merge(known, on=KEYS, suffixes=("", "_there"))
    same = both["hash"] == both["hash_there"]
    for (kernels, there), group in same.groupby([both["kernels"], both["processor_there"]]):
        print(f"{kernels} kernels, {there}: {group.sum()} of {len(group)} networks are the same")
    if "--record" in sys.argv[1:]:
        pd.concat([known, here]).drop_duplicates().to_csv(RECORD, index=False)
    return int(not same[both["kernels"] == "portable"].all())


if __name__ == "__main__":
    sys.exit(main())
