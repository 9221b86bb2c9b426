"""What the Slurm profile would submit, by a dry run; tests/cluster submits it for real."""

import re

import pytest

GRID = """\
experiment: grid
device: cpu
data: {{name: digits, train: 100, validation: 100}}
models: {{small_cnn: {{}}, mlp: {{}}}}
objectives: {{focal: {{gamma: [0, 1, 2, 3, 5]}}}}
seeds: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
training: {{epochs: 1, batch_size: 32, learning_rate: 0.05}}
jobs: {{curvature: {jobs}, calibration: {jobs}}}
"""


@pytest.mark.parametrize(
    # 100 runs at 40 in a submission, data, summary, figures; single: tables, cost, provenance,
    # cells.
    ("jobs", "groups", "single"),
    [("run", 3 + 3, 3), ("cell", 3 + 3, 3 + 20)],
)
def test_slurm_profile_groups_runs(checkout_factory, jobs, groups, single):
    checkout = checkout_factory()
    (checkout.folder / "config/grid.yaml").write_text(GRID.format(jobs=jobs))
    text = checkout.snakemake(
        *("--dry-run", "--workflow-profile", "workflow/profiles/slurm"),
        *("--configfile", "config/grid.yaml"),
    ).stdout
    assert len(re.findall(r"^\[.*Group job (?:data|runs|paper) ", text, re.MULTILINE)) == groups
    alone = re.findall(r"^\[[^\n]*\]\nJob \d+: ", text, re.MULTILINE)
    assert len(alone) == single
