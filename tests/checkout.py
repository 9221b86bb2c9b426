"""Real Snakemake runs in a copy of the repository, so that tests may edit its sources."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PARTS = ("Snakefile", "workflow", "profiles", "src", "config", "config.yaml", "environment.yml")


class Checkout:
    """A copy of the repository in which Snakemake is run."""

    def __init__(self, folder):
        self.folder = folder
        for part in PARTS:
            source = ROOT / part
            copy = shutil.copytree if source.is_dir() else shutil.copy2
            copy(source, folder / part)

    def snakemake(self, *arguments, check=True, **environment):
        """Run Snakemake; return the finished process, its two streams as one text."""
        done = subprocess.run(
            [sys.executable, "-m", "snakemake", *arguments],
            cwd=self.folder,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=os.environ | environment,
            timeout=600,
        )
        assert not check or done.returncode == 0, done.stdout[-5000:]
        return done

    def planned(self, *arguments):
        """Return rule -> number of jobs that a dry run plans."""
        text = self.snakemake("--dry-run", *arguments).stdout
        if "Nothing to be done" in text:
            return {}
        table = re.search(r"Job stats:\n(.*?)\ntotal ", text, re.DOTALL)[1]
        jobs = re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE)
        return {rule: int(n) for rule, n in jobs if rule not in ("all", "default")}
