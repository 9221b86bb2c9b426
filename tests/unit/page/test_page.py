"""The page: complete, self-contained, escaped, and honest about what there is not."""

import base64
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest
import yaml
from checkout import ROOT
from experiments import claim, summary, write

from focal_curvature import config, page
from focal_curvature.page import captions

HOSTILE = "<script>alert(1)</script>"
LINKS = {"https://doi.org/10.1016/j.patrec.2025.01.031", "https://arxiv.org/abs/2405.00442"}
COMMITTED = sorted((ROOT / "paper_figures").iterdir())

# What `make page` runs, in a process that says whether training's libraries were loaded.
MAKE = """
import runpy, sys
sys.argv = ["page", {output!r}, *{folders!r}]
runpy.run_module("focal_curvature.page", run_name="__main__")
sys.exit("loaded torch" if "torch" in sys.modules else 0)
"""


class Parsed(HTMLParser):
    """Tags with their attributes, and the text outside style and script."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts, self.inside = [], [], None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.inside = tag

    def handle_data(self, data):
        if self.inside not in ("style", "script"):
            self.texts.append(data.strip())

    def of(self, name):
        return [attributes for tag, attributes in self.tags if tag == name]

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())


def made(*folders, caption=lambda experiment, figure: ""):
    return Parsed(page.render([page.read(folder, caption) for folder in folders]))


@pytest.fixture(scope="module")
def committed(tmp_path_factory):
    output = tmp_path_factory.mktemp("page") / "page.html"
    command = MAKE.format(output=str(output), folders=[str(folder) for folder in COMMITTED])
    subprocess.run([sys.executable, "-c", command], cwd=ROOT, env={"PYTHONPATH": "src"}, check=True)
    return output.read_text()


def test_every_committed_figure_is_in_it_with_its_caption(committed):
    images = [image["src"].partition("base64,")[2] for image in Parsed(committed).of("img")]
    shown = [base64.b64decode(image) for image in images]
    files = [file for folder in COMMITTED for file in folder.glob("*.png")]
    assert files
    assert sorted(shown) == sorted(file.read_bytes() for file in files)
    captions = re.findall(r"<figcaption>\s*<p><strong>(.+?)</strong>", committed, re.DOTALL)
    assert len(captions) == len(files)
    bare = {f"{file.stem.replace('_', ' ').capitalize()}." for file in files}
    assert not bare & set(captions), "no caption in workflow/report/figure.rst"


def test_it_needs_no_network(committed):
    for _, attributes in Parsed(committed).tags:
        assert attributes.get("src", "data:").startswith("data:")
        target = attributes.get("href", "#")
        assert target.startswith(("data:", "#")) or target in LINKS
        assert not {"srcset", "background", "poster", "action"} & attributes.keys()
    assert "url(" not in committed
    assert "@import" not in committed


def test_targets_of_links_and_labels_exist_once(committed):
    tags = [attributes for _, attributes in Parsed(committed).tags]
    names = [attributes["id"] for attributes in tags if "id" in attributes]
    assert len(names) == len(set(names))
    wanted = {a["href"][1:] for a in tags if a.get("href", "").startswith("#")}
    wanted |= {a["aria-labelledby"] for a in tags if "aria-labelledby" in a}
    assert wanted
    assert wanted <= set(names)


def test_what_comes_from_files_is_escaped(tmp_path):
    rows = summary(HOSTILE, {(HOSTILE, 1.0): 0.1})
    found = made(write(tmp_path / 'a&"b<i>', rows, [claim(HOSTILE, "supported", 0.5)]))
    assert len(found.of("script")) == 1
    assert not found.of("i")
    assert HOSTILE in found.text
    assert 'Experiment: a&"b<i>' in found.text
    chosen = [row["data-model"] for row in found.of("tr") if "data-model" in row]
    assert chosen == [HOSTILE, HOSTILE]


def test_a_row_is_a_cell_of_the_grid_with_what_filters_and_sorting_need(tmp_path):
    ece = {("ce", 0.0): 0.05, ("focal-2", 2.0): 0.02, ("ce-sam-0.05", float("nan")): 0.01}
    found = made(write(tmp_path / "mine", summary("cnn", ece), [claim("all models", "supported")]))
    rows = [row for row in found.of("tr") if "data-gamma" in row]
    assert [row["data-gamma"] for row in rows] == ["0", "2", "none"]
    assert [row["data-family"] for row in rows] == ["focal", "focal", "sam"]
    assert {row["data-experiment"] for row in rows} == {"mine"}
    cells = [cell for cell in found.of("td") if cell["data-label"] == "ECE (%)"]
    assert [float(cell["data-number"]) for cell in cells] == [0.05, 0.02, 0.01]
    assert "5.0 ± 1.0" in found.text
    (gamma,) = (c for c in found.of("td") if c["data-label"] == "γ" and not c["data-number"])
    assert gamma == {"role": "cell", "data-label": "γ", "class": "number", "data-number": ""}


def test_a_verdict_has_a_symbol_and_its_word(tmp_path):
    claims = [claim("cnn", verdict) for verdict in page.VERDICTS]
    found = made(write(tmp_path / "mine", summary("cnn", {("ce", 0.0): 0.1}), claims))
    for verdict, symbol in page.VERDICTS.items():
        # Once in the legend, once in its row.
        assert found.text.count(f"{symbol} {verdict}") == 2


def test_what_there_is_not_is_said(tmp_path):
    (tmp_path / "empty").mkdir()
    rest = write(tmp_path / "rest", summary("cnn", {("ce", 0.0): 0.1}), [claim("cnn", "supported")])
    found = made(tmp_path / "empty", rest)
    for missing in ("empty: no verdicts yet.", "empty: no results yet.", "No figures yet."):
        assert found.text.count(missing) == 1
    assert found.text.count("No provenance yet.") == 1
    (rest / "claims.json").unlink()
    assert "rest: no verdicts yet." in made(rest).text


@pytest.mark.parametrize("file", ["claims.json", "trace.png", "tables/summary.csv"])
def test_a_damaged_file_is_named(tmp_path, file):
    folder = write(tmp_path / "mine", summary("cnn", {("ce", 0.0): 0.1}), [])
    (folder / file).write_text("")
    with pytest.raises(ValueError, match=file):
        made(folder)


def test_a_folder_that_there_is_not_is_named(tmp_path):
    with pytest.raises(ValueError, match="there is no such folder"):
        made(tmp_path / "nowhere")


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
