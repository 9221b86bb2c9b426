"""Committed figures follow from the committed tables alone."""

import shutil
import subprocess
import sys

import numpy as np
import pytest
from checkout import ROOT
from matplotlib import image

EXPERIMENTS = sorted(folder.name for folder in (ROOT / "paper_figures").iterdir())

# What `make figures` runs, in a process that says whether anything but drawing was loaded.
REDRAW = """
import runpy, sys
from focal_curvature import plotting
draw = plotting.draw
plotting.draw = lambda figure, data, outputs: draw(
    figure, data, [output for output in outputs if output.suffix in {suffixes!r}]
)
sys.argv = ["plotting", {folder!r}]
runpy.run_module("focal_curvature.plotting", run_name="__main__")
loaded = {{"torch", "snakemake", "focal_curvature.training"}} & set(sys.modules)
sys.exit(f"loaded {{loaded}}" if loaded else 0)
"""


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_figures_are_redrawn_without_training(experiment, tmp_path):
    committed = ROOT / "paper_figures" / experiment
    folder = tmp_path / experiment
    # A quarter of the time is a pdf's: of one experiment, as what is drawn is the same.
    suffixes = (".pdf", ".png") if experiment == "digits" else (".png",)
    shutil.copytree(committed / "data", folder / "data")
    subprocess.run(
        [sys.executable, "-c", REDRAW.format(folder=str(folder), suffixes=suffixes)],
        env={"PYTHONPATH": str(ROOT / "src")},
        check=True,
    )
    figures = sorted(f.name for f in committed.glob("*.p*") if f.suffix in suffixes)
    pairs = [sorted(f.stem for f in committed.glob(f"*.{kind}")) for kind in ("pdf", "png")]
    assert pairs[0] == pairs[1]
    assert sorted(file.name for file in folder.glob("*.p*")) == figures
    for name in figures:
        files = committed / name, folder / name
        if name.endswith(".png") and files[0].read_bytes() != files[1].read_bytes():
            before, after = map(image.imread, files)
            assert before.shape == after.shape, name
            # Other versions of the font renderer may shade edges differently.
            assert np.abs(before - after).mean() < 0.005, name
