"""The documentation site is built from docs/ and docstrings without a warning."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_site_is_built_strictly(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "reference/index.html").read_text()
    for name in ("measure", "Curvature", "relative_error", "lanczos"):
        assert name in page
    example = (tmp_path / "own_model/index.html").read_text()
    assert "DataLoader" in example  # the example itself, by its file
