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
jobs: {{train: {train}, curvature: {others}, calibration: {others}}}
"""


@pytest.mark.parametrize(
    # 100 runs or 10 cells at 40 in a submission, data, summary, figures; single: tables, cost,
    # provenance, and cells of curvature and calibration whose runs are trained one by one.
    ("train", "others", "groups", "single"),
    [("run", "run", 3 + 3, 3), ("run", "cell", 3 + 3, 3 + 20), ("cell", "cell", 1 + 3, 3)],
)
def test_slurm_profile_groups_runs(checkout_factory, train, others, groups, single):
    checkout = checkout_factory()
    (checkout.folder / "config/grid.yaml").write_text(GRID.format(train=train, others=others))
    text = checkout.snakemake(
        *("--dry-run", "--workflow-profile", "workflow/profiles/slurm"),
        *("--configfile", "config/grid.yaml"),
    ).stdout
    assert len(re.findall(r"^\[.*Group job (?:data|runs|paper) ", text, re.MULTILINE)) == groups
    alone = re.findall(r"^\[[^\n]*\]\nJob \d+: ", text, re.MULTILINE)
    assert len(alone) == single
