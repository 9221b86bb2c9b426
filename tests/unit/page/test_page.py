"""The page: complete, small, self-contained, escaped, and honest about what there is not."""

import base64
import io
import json
import re
import subprocess
import sys
import zlib
from collections import Counter
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
import readme
from checkout import ROOT, Checkout
from experiments import claim, summary, write
from PIL import Image

from focal_curvature import page
from focal_curvature.analysis.evidence import DESCRIBED, VERDICTS

HOSTILE = "<script>alert(1)</script>"
LINKS = {"https://doi.org/10.1016/j.patrec.2025.01.031", "https://arxiv.org/abs/2405.00442"}
COMMITTED = sorted((ROOT / "paper_figures").iterdir())
CLAIMS = {
    file.parent.name: json.loads(file.read_text())["claims"]
    for file in sorted((ROOT / "paper_figures").glob("*/claims.json"))
}

# What `make page` runs, in a process that says whether training's libraries were loaded.
MAKE = """
import runpy, sys
sys.argv = ["page", {output!r}, *{folders!r}]
runpy.run_module("focal_curvature.page", run_name="__main__")
sys.exit("loaded torch" if "torch" in sys.modules else 0)
"""


class Parsed(HTMLParser):
    """Tags with their attributes, rows of each section, and text outside style and script."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts, self.inside = [], [], None
        self.section, self.cell, self.rows = None, False, {}
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append((tag, attributes))
        self.inside = tag
        if tag == "section":
            self.section = attributes.get("id")
        if tag == "tr":
            self.rows.setdefault(self.section, []).append([])
        if tag in ("th", "td") and self.section in self.rows:
            self.rows[self.section][-1].append("")
            self.cell = True

    def handle_endtag(self, tag):
        self.cell = self.cell and tag not in ("th", "td")

    def handle_data(self, data):
        if self.inside in ("style", "script"):
            return
        self.texts.append(data.strip())
        if self.cell:
            self.rows[self.section][-1][-1] += data.strip()

    def of(self, name):
        return [attributes for tag, attributes in self.tags if tag == name]

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())


def read(folder):
    return page.read(folder, lambda experiment, figure: "", lambda experiment: "")


def made(*folders, pooled=None):
    return Parsed(page.render([read(folder) for folder in folders], pooled))


def unpacked(text):
    packed = re.search(r'id="runs">(.*?)</script>', text)[1]
    return json.loads(zlib.decompress(base64.b64decode(packed)))


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    output = tmp_path_factory.mktemp("page") / "page.html"
    command = MAKE.format(output=str(output), folders=[str(folder) for folder in COMMITTED])
    subprocess.run([sys.executable, "-c", command], cwd=ROOT, env={"PYTHONPATH": "src"}, check=True)
    return output.read_text()


@pytest.fixture(scope="module")
def committed(text):
    return Parsed(text)


def test_it_is_small(text):
    assert len(text.encode()) < 3_000_000


def test_it_needs_no_network(text, committed):
    for _, attributes in committed.tags:
        assert attributes.get("src", "data:").startswith("data:")
        target = attributes.get("href", "#")
        assert target.startswith(("data:", "#")) or target in LINKS
        assert not {"srcset", "background", "poster", "action"} & attributes.keys()
    assert "url(" not in text
    assert "@import" not in text
    assert "fetch(" not in text


def test_targets_of_links_and_labels_exist_once(committed):
    tags = [attributes for _, attributes in committed.tags]
    names = [attributes["id"] for attributes in tags if "id" in attributes]
    assert len(names) == len(set(names))
    wanted = {a["href"][1:] for a in tags if a.get("href", "").startswith("#")}
    for key in ("aria-labelledby", "aria-describedby"):
        wanted |= {a[key] for a in tags if key in a}
    assert len(wanted) > 100
    assert wanted <= set(names)


def test_the_answer_is_the_readme_s(committed):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    answer = text.partition(readme.begin(""))[2].partition(readme.END)[0]
    bullets = re.findall(r"^- (.*)$", answer, re.MULTILINE)
    assert len(bullets) == len(readme.answer.FAMILIES)
    squeezed = re.sub(r"\s", "", committed.text)
    for bullet in bullets:
        assert re.sub(r"[\s*]", "", bullet) in squeezed


def test_a_cell_counts_the_verdicts_that_its_evidence_has(committed):
    cells = {a["href"][1:]: a["aria-label"] for a in committed.of("a") if "aria-label" in a}
    for experiment, rows in CLAIMS.items():
        counts = {}
        models = {row["model"] for row in rows}
        # Of one network its own, which says nothing of architectures.
        of = "all models" if len(models) > 2 else min(models - {"all models"})
        for row in rows:
            if row["model"] == of and row["verdict"] != DESCRIBED:
                key = page.evidence.anchor(experiment, row["claim"], row["hessian_of"])
                words = row["verdict"] + (", fragile" if row["fragile"] else "")
                counts.setdefault(key, Counter())[words] += 1
        shown = {key: label for key, label in cells.items() if key.startswith(f"{experiment}--")}
        assert len(shown) >= 15
        for key, label in shown.items():
            said = dict(part.split(" ", 1)[::-1] for part in label.rpartition(": ")[2].split("; "))
            assert {words: int(n) for words, n in said.items()} == counts[key]


def test_every_estimate_stands_in_its_group(committed):
    n = 0
    for experiment, rows in CLAIMS.items():
        decided = {(r["claim"], r["hessian_of"]) for r in rows if r["verdict"] != DESCRIBED}
        for row in rows:
            asked = row["claim"], row["hessian_of"]
            if row["estimate"] is None or (row["verdict"] == DESCRIBED and asked in decided):
                continue
            group = committed.rows[page.evidence.anchor(experiment, *asked)]
            found = [cells for cells in group if row["effect"] in cells]
            verdict = row["verdict"] + (", fragile" if row["fragile"] else "")
            assert any(f"{VERDICTS[row['verdict']]}" in c[-1] and verdict in c[-1] for c in found)
            assert any(c[5:7] == [str(row["seeds"]), str(row["runs"])] for c in found)
            n += 1
    assert n > 400


def test_every_run_is_in_it_with_the_numbers_of_its_file(text):
    content = unpacked(text)
    experiments = content["kinds"]["experiment"]
    codes = np.array(experiments["codes"])
    for i, folder in enumerate(COMMITTED):
        runs = pd.read_csv(folder / "runs.csv")
        assert experiments["levels"][i] == folder.name
        mine = codes == i
        assert mine.sum() == len(runs)
        for column in content["numbers"]:
            shown = np.array(column["values"], float)[mine]
            there = runs[column["key"]] if column["key"] in runs else np.full(len(runs), np.nan)
            np.testing.assert_allclose(shown, there, rtol=5.1e-3)  # three digits
        for key in ("model", "objective"):
            kind = content["kinds"][key]
            assert [kind["levels"][c] for c in np.array(kind["codes"])[mine]] == list(runs[key])


def test_columns_that_are_judged_by_can_be_chosen_and_have_names(text):
    columns = {column["key"]: column for column in unpacked(text)["numbers"]}
    links = [a for a in Parsed(text).of("a") if a.get("class") == "draw"]
    assert {a["data-y"] for a in links} | {a["data-x"] for a in links} <= set(columns)
    names = [column["label"] for column in columns.values()]
    assert len(set(names)) == len(names)
    assert not [name for name in names if "_" in name]


def test_every_figure_that_it_does_not_draw_is_in_it_as_its_file_shows_it(committed):
    shown = {image["alt"]: image for image in committed.of("img")}
    drawn = page.NOT_EMBEDDED
    files = [f for folder in COMMITTED for f in folder.glob("*.png") if f.stem not in drawn]
    assert len(shown) == len(files) > 50
    for file in files[::8]:
        name = f"{file.stem.replace('_', ' ')} of {file.parent.name}, described below"
        data = base64.b64decode(shown[name]["src"].partition("base64,")[2])
        with Image.open(io.BytesIO(data)) as image, Image.open(file) as source:
            assert image.size == (int(shown[name]["width"]), int(shown[name]["height"]))
            whole = source.convert("RGB").resize(image.size, Image.Resampling.LANCZOS)
            difference = np.abs(np.asarray(image.convert("RGB"), int) - np.asarray(whole, int))
        assert (
            difference.mean() < 5
        )  # of 255: 32 colours for all, thin lines at two thirds of their size


def test_every_figure_has_a_caption(text, committed):
    captions = re.findall(r"<figcaption>\s*<p><strong>(.+?)</strong>", text, re.DOTALL)
    assert len(captions) == len(committed.of("img"))


def test_what_comes_from_files_is_escaped(tmp_path):
    rows = summary(HOSTILE, {(HOSTILE, 1.0): 0.1})
    judged = [claim(model, "supported", 0.5) | {"reason": HOSTILE} for model in (HOSTILE, "b")]
    folder = write(tmp_path / 'a&"b<i>', rows, [*judged, claim("all models", "supported")])
    found = made(folder)
    assert len(found.of("script")) == 3
    assert not found.of("i")
    assert found.text.count(HOSTILE) >= 4
    assert 'a&"b<i>' in found.text
    content = unpacked(page.render([read(folder)]))
    assert content["kinds"]["model"]["levels"] == [HOSTILE]


def test_a_verdict_has_a_symbol_and_its_word(tmp_path):
    judged = [claim(f"net {v}", v, 0.5) for v in VERDICTS] + [claim("all models", "mixed")]
    for one in judged:
        if one["verdict"] == DESCRIBED:
            one["claim"] = "c0"  # nothing decides there
    found = made(write(tmp_path / "mine", summary("cnn", {("ce", 0.0): 0.1}), judged))
    groups = (found.rows[f"mine--{key}--objective"][1:] for key in ("c0", "c1"))
    rows = {cells[1]: cells for group in groups for cells in group}
    for verdict, symbol in VERDICTS.items():
        if verdict != "not tested":  # of single networks it says nothing
            assert rows[f"net {verdict}"][-1] == f"{symbol}!{verdict}, fragileso it is"


def test_what_there_is_not_is_said(tmp_path):
    (tmp_path / "empty").mkdir()
    rest = write(tmp_path / "rest", summary("cnn", {("ce", 0.0): 0.1}), [claim("cnn", "supported")])
    found = made(tmp_path / "empty", rest)
    for missing in ("empty: no verdicts.", "No results yet.", "No figures yet."):
        assert found.text.count(missing) == 1
    assert found.text.count("No provenance yet.") == 1
    assert found.text.count("No pooled verdicts yet.") == 1
    (rest / "claims.json").unlink()
    assert "rest: no verdicts." in made(rest).text


@pytest.mark.parametrize("file", ["claims.json", "ece.png", "tables/summary.csv", "runs.csv"])
def test_a_damaged_file_is_named(tmp_path, file):
    folder = write(tmp_path / "mine", summary("cnn", {("ce", 0.0): 0.1}), [])
    (folder / file).write_text("")
    with pytest.raises(ValueError, match=file):
        made(folder)


def test_a_folder_that_there_is_not_is_named(tmp_path):
    with pytest.raises(ValueError, match="there is no such folder"):
        made(tmp_path / "nowhere")


def test_experiments_of_one_name_are_refused(tmp_path):
    for place in "ab":
        write(tmp_path / place / "mine", summary("cnn", {("ce", 0.0): 0.1}), [])
    with pytest.raises(ValueError, match="same name: mine, mine"):
        made(tmp_path / "a/mine", tmp_path / "b/mine")


def test_figures_are_as_wide_as_there_is_room_for(tmp_path, monkeypatch):
    folder = write(tmp_path / "mine", summary("cnn", {("ce", 0.0): 0.1}), [])
    noise = np.random.default_rng(0).integers(0, 256, (400, 1200, 3), np.uint8)
    Image.fromarray(noise).save(folder / "ece.png")
    size = len(page.render([read(folder)]).encode())
    assert made(folder).of("img")[0]["width"] == "1000"
    monkeypatch.setattr(page, "LIMIT", size - 1)
    assert made(folder).of("img")[0]["width"] == "900"
    monkeypatch.setattr(page, "LIMIT", 1000)
    with pytest.raises(ValueError, match="figures of 440 pixels; limit: 1000"):
        made(folder)


@pytest.mark.parametrize("experiment", ["digits", "digits_power"])
def test_the_command_of_a_run_makes_it(tmp_path, text, experiment):
    run = pd.read_csv(ROOT / f"paper_figures/{experiment}/runs.csv")["run"].iloc[0]
    command = unpacked(text)["commands"][experiment].replace("{run}", run).split()
    assert command[:3] == ["snakemake", "--cores", "2"]
    jobs = Checkout(tmp_path).planned(*command[1:])
    assert {"train", "curvature", "calibration"} <= set(jobs)
