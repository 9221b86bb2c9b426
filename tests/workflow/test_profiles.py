"""What the Slurm profile would submit, by a dry run; tests/cluster submits it for real."""

import re

import pytest
import yaml

GRID = """\
experiment: grid
device: cpu
data: {{name: digits, train: 100, validation: 100}}
models: {{small_cnn: {{}}, mlp: {{}}}}
objectives: {{focal: {{gamma: [0, 1, 2, 3, 5]}}}}
seeds: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
training: {{epochs: 1, batch_size: 32, learning_rate: 0.05}}
controls: {{seeds: [0]}}
jobs: {{train: {train}, curvature: {others}, calibration: {others}, stages: {stages}}}
"""


@pytest.mark.parametrize(
    # 100 runs or 10 cells at 40 in a submission, data, products, and 20 jobs of cells whose runs
    # are trained one by one in one more; single: gather, cost, and controls of each model.
    ("train", "others", "stages", "groups", "single"),
    [
        ("run", "run", "run", 3 + 2, 2),
        ("run", "cell", "model", 3 + 2 + 1, 2 + 2),
        ("cell", "cell", "model", 1 + 2, 2 + 2),
        ("cell", "cell", "run", 1 + 2, 2),
    ],
)
def test_slurm_profile_groups_runs(checkout_factory, train, others, stages, groups, single):
    checkout = checkout_factory()
    (checkout.folder / "config/grid.yaml").write_text(
        GRID.format(train=train, others=others, stages=stages)
    )
    text = checkout.snakemake(
        *("--dry-run", "--workflow-profile", "workflow/profiles/slurm"),
        *("--configfile", "config/grid.yaml"),
    ).stdout
    grouped = re.findall(r"^\[.*Group job (?:data|runs|cells|paper) ", text, re.MULTILINE)
    assert len(grouped) == groups
    alone = re.findall(r"^\[[^\n]*\]\nJob \d+: ", text, re.MULTILINE)
    assert len(alone) == single


BESIDE = {
    "geometry": {"seeds": [0]},
    "controls": {"objectives": ["ce", "focal-1"], "seeds": [0]},
    "trajectory": {"objectives": ["ce"], "seeds": [0], "epochs": [1, 2, 3]},
}


@pytest.fixture(scope="module")
def asked(checkout_factory):
    """A function of changes to the configuration: rule -> minutes and megabytes asked for."""
    checkout = checkout_factory()
    with (checkout.folder / "Snakefile").open("a") as stream:
        # Of a job with a message, Snakemake does not tell the resources.
        stream.write("\nfor each in workflow.rules:\n    each.message = None\n")

    def ask(**changes):
        config = (
            yaml.safe_load(GRID.format(train="run", others="run", stages="model"))
            | BESIDE
            | changes
        )
        config["training"]["epochs"] = 60
        config["models"] = {"mlp": {"resources": {"train": {"mem_mb": 9000}}}}
        config["regularisers"] = {"hessian_trace": {"strength": [0.1]}}
        (checkout.folder / "config/beside.yaml").write_text(yaml.safe_dump(config))
        text = checkout.snakemake(
            *("--dry-run", "--configfile", "config/beside.yaml", "--until", *BESIDE)
        ).stdout
        pattern = r"^rule (\w+):\n(?: +.*\n)*? +resources: .*runtime=(\d+), mem_mb=(\d+)"
        jobs = re.findall(pattern, text, re.MULTILINE)
        return {rule: (int(minutes), int(megabytes)) for rule, minutes, megabytes in jobs}

    return ask


def test_jobs_beside_the_runs_ask_for_more_time_the_more_they_measure(asked):
    controls, trajectory = BESIDE["controls"], BESIDE["trajectory"]
    few = asked()
    more = asked(
        objectives={"focal": {"gamma": [0, 1, 2, 3, 5, 6, 7, 8, 9, 10]}},
        controls=controls | {"objectives": ["ce", "focal-1", "focal-2", "focal-3"]},
        trajectory=trajectory | {"epochs": [1, 2, 3, 4, 5, 6, 7, 8, 9]},
    )
    assert more["geometry"][0] == pytest.approx(2 * few["geometry"][0], abs=1)
    assert more["controls"][0] == 2 * few["controls"][0]
    assert more["trajectory"][0] > 2 * few["trajectory"][0]
    other = asked(
        controls=controls | {"factors": [2, 3, 4, 5, 6, 7]},
        trajectory=trajectory | {"objectives": ["ce-hessian_trace-0.1"]},
    )
    assert other["controls"][0] == 2 * few["controls"][0]
    assert other["trajectory"][0] > few["trajectory"][0]
    own = {
        "data": {"name": "digits", "train": 1600, "validation": 100},
        "curvature": {"samples": 10},
    }
    measured = [asked(**own, trajectory=trajectory | {"samples": n}) for n in (10, None)]
    assert measured[0]["trajectory"][0] < measured[1]["trajectory"][0]
    assert [few[rule][1] for rule in BESIDE] == [few["controls"][1]] * 2 + [9000]
