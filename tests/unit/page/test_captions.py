"""Captions state the settings of their experiment, by the report's own text."""

import pytest
import yaml
from checkout import ROOT

from focal_curvature import config
from focal_curvature.page import captions


def caption_of(figure, settings):
    file = ROOT / f"workflow/report/figures/{figure}.rst"
    return captions.render(file.read_text(), settings)


@pytest.fixture
def settings():
    return config.load(yaml.safe_load((ROOT / "config.yaml").read_text()))


def test_captions_state_the_settings_of_the_experiment(settings):
    settings["curvature"] |= {"estimator": "pyhessian", "probes": 77}
    caption = caption_of("trace", settings)
    assert caption.startswith("<p><strong>Hessian trace")
    assert "77 Rademacher probes" in caption


@pytest.mark.parametrize(
    ("estimator", "figure", "words", "others"),
    [
        ("pyhessian", "top_eigenvalue", "power iteration", "Lanczos"),
        ("pyhessian", "trace", "Hutchinson's method with 32", "exact"),
        ("engine", "top_eigenvalue", "Lanczos", "power iteration"),
        ("engine", "trace", "exact for ReLU networks", "Hutchinson's method with 32"),
    ],
)
def test_captions_name_the_method_that_measured(settings, estimator, figure, words, others):
    settings["curvature"]["estimator"] = estimator
    caption = " ".join(caption_of(figure, settings).split())
    assert words in caption
    assert others not in caption


def test_the_caption_on_the_bound_cites_a_table_that_is_committed(settings):
    assert "tables/theory.md" in caption_of("bound", settings)


def test_the_caption_on_trajectories_sets_the_published_correlations_beside(settings):
    caption = caption_of("trajectory", settings)
    for words in ("arXiv 2604.20614", ".96", ".97", ".15 (AdamW)", "same weights"):
        assert words in " ".join(caption.split())


def test_the_caption_on_strength_speaks_of_one_hessian(settings):
    caption = caption_of("strength", settings)
    assert "under plain cross-entropy, without the penalty" in caption
    assert "training objective" not in caption


def test_captions_need_neither_data_nor_every_setting(monkeypatch, tmp_path, caplog):
    (tmp_path / "workflow").symlink_to(ROOT / "workflow")
    settings = yaml.safe_load((ROOT / "config.yaml").read_text())
    settings |= {"experiment": "moved", "data": {"name": "mine", "source": "not/here.tar.gz"}}
    del settings["geometry"]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings))
    monkeypatch.chdir(tmp_path)
    assert "exact for ReLU networks" in captions.caption("moved", "trace")
    assert captions.caption("moved", "spectrum") == ""
    assert captions.caption("unnamed", "trace") == ""
    assert ["spectrum" in caplog.messages[0], "unnamed" in caplog.messages[1]] == [True, True]


def test_the_configuration_of_an_experiment_is_found(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert captions.configuration("letters") == "--configfile config/letters.yaml"
    assert captions.configuration("digits") == captions.configuration("unnamed") == ""
