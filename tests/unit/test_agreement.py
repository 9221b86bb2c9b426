"""What is gathered was made with the settings that it is gathered for."""

import copy
import json

import pytest
import yaml
from checkout import ROOT

from focal_curvature.config import load
from focal_curvature.measurements.agreement import require_configured
from focal_curvature.runs import expand

SMOKE = yaml.safe_load((ROOT / "config/smoke.yaml").read_text())


def records(config):
    """Return a run's specification, and what the job's files say of it."""
    spec = expand(config)[0]
    estimate = {
        k: v for k, v in config["curvature"].items() if k in ("probes", "tolerance", "chunk")
    }
    measured = {"settings": estimate, "split": config["curvature"]["split"], "weights_sha256": "a"}
    files = (
        {"run": spec.folder, "spec": spec.to_dict(), "sha256": {"model.pt": "a"}},
        {"bins": config["calibration"]["bins"]},
        {"objective": measured, "cross_entropy": measured},
    )
    return spec, json.loads(json.dumps(files))


OTHERS = {
    "run.json: was made with training.epochs 3 in place of 4": ("training", "epochs", 4),
    "calibration.json: was made with bins 5 in place of 7": ("calibration", "bins", 7),
    "objective.json: was made with probes 5 in place of 9": ("curvature", "probes", 9),
    "objective.json: was made with split 'train' in place of 'test'": (
        "curvature",
        "split",
        "test",
    ),
}


def test_records_of_the_configuration_are_taken_with_what_they_lack():
    config = load(SMOKE)
    spec, files = records(config)
    require_configured(spec, config, *files)
    del files[0]["spec"]["training"]["clip_norm"], files[2]["objective"]["settings"]
    require_configured(spec, config, *files)


@pytest.mark.parametrize("words", OTHERS)
def test_records_of_other_settings_are_told(words):
    first = copy.deepcopy(SMOKE)
    first["training"]["epochs"], first["calibration"], first["curvature"] = (
        3,
        {"bins": 5},
        {"probes": 5},
    )
    _, files = records(load(first))
    section, key, value = OTHERS[words]
    changed = copy.deepcopy(first)
    changed[section][key] = value
    config = load(changed)
    with pytest.raises(ValueError, match="in place of") as caught:
        require_configured(expand(config)[0], config, *files)
    assert words in str(caught.value)
    assert str(caught.value).startswith(expand(config)[0].folder)


def test_curvature_of_other_weights_is_told():
    config = load(SMOKE)
    spec, files = records(config)
    files[0]["sha256"]["model.pt"] = "b"
    with pytest.raises(ValueError, match=r"objective.json: is of other weights than model.pt"):
        require_configured(spec, config, *files)
