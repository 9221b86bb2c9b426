"""A user's own data set, model and loss, fetched, decoded, trained, failed and tabulated."""

import functools
import gzip
import hashlib
import http.server
import io
import json
import tarfile
import threading

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

OWN = """
from torch import nn
from torch.nn import functional as F


def net(classes, channels, size, hidden):
    return nn.Sequential(
        nn.Flatten(), nn.Linear(channels * size**2, hidden), nn.Tanh(), nn.Linear(hidden, classes)
    )


class Scaled(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, logits, labels):
        return self.factor * F.cross_entropy(logits, labels, reduction="none")
"""

CONFIG = {
    "experiment": "own",
    "device": "cpu",
    "models": {
        "mine": {"factory": "own:net", "arguments": {"hidden": 5}},
        "small_cnn": {"training": {"learning_rate": 1e9}},
    },
    "objectives": {"doubled": {"factory": "own:Scaled", "factor": [2]}, "focal": {"gamma": [0]}},
    "regularisers": {"hessian_trace": {"strength": [0.01], "every": 2}},
    "seeds": [3],
    "training": {"epochs": 2, "batch_size": 10, "learning_rate": 0.1, "trace_samples": 10},
    "curvature": {"probes": 4, "max_iterations": 200},
    "calibration": {"bins": 5},
    "jobs": {"curvature": "run", "calibration": "run"},
}


def run(checkout, data, *arguments, **environment):
    (checkout.folder / "own.py").write_text(OWN)
    (checkout.folder / "own.yaml").write_text(yaml.safe_dump(CONFIG | {"data": data}))
    return checkout.snakemake(*arguments, "--cores", "2", "--configfile", "own.yaml", **environment)


def image_archive(path):
    generator = np.random.default_rng(0)
    with tarfile.open(path, "w:gz") as tar:
        for pool, count in (("train", 20), ("test", 8)):
            for k, name in enumerate(("dark", "light")):
                for i in range(count):
                    pixels = generator.integers(0, 120, (9, 9, 3)) + 120 * k
                    stream = io.BytesIO()
                    Image.fromarray(pixels.astype(np.uint8)).save(stream, "PNG")
                    member = tarfile.TarInfo(f"{pool}/{name}/{i}.png")
                    member.size = stream.tell()
                    stream.seek(0)
                    tar.addfile(member, stream)


def test_own_images_model_and_loss_and_a_run_that_diverges(checkout_factory):
    checkout = checkout_factory()
    image_archive(checkout.folder / "mine.tar.gz")
    data = {"name": "mine", "source": "mine.tar.gz", "size": 8, "validation": 10}
    penalties = "paper_figures/own/tables/penalties.csv"
    run(checkout, data, "paper_figures/own/runs.csv", penalties, "paper_figures/own/strength.png")
    runs = pd.read_csv(checkout.folder / "paper_figures/own/runs.csv").set_index("run")
    assert len(runs) == 6
    mine = runs.loc["mine/doubled-2/seed3"]
    assert mine["status"] == "completed"
    assert mine["test_samples"] == 16
    # Twice the loss is twice the Hessian: the same probes, the same weights.
    assert mine["trace_objective"] == pytest.approx(2 * mine["trace_cross_entropy"], rel=1e-3)
    failed = runs.loc["small_cnn/ce/seed3"]
    assert failed["status"] == "diverged"
    assert "epoch 1" in failed["reason"]
    assert np.isnan(failed["accuracy"])
    # The penalised traces of both models, of which one diverged.
    traces = pd.read_csv(checkout.folder / penalties).set_index("model")
    assert traces["status"].to_dict() == {"mine": "completed", "small_cnn": "diverged"}
    assert np.isfinite(
        traces.loc["mine", ["penalised_trace_least", "trace_hessian"]].astype(float)
    ).all()
    # The user's file decides the result as ours do.
    (checkout.folder / "own.py").write_text(OWN.replace("Tanh", "ReLU"))
    planned = checkout.planned("paper_figures/own/runs.csv", "--configfile", "own.yaml")
    assert planned["train"] == 4


def test_a_changed_folder_of_images_is_read_again(checkout_factory):
    checkout = checkout_factory()
    archive = checkout.folder / "mine.tar.gz"
    image_archive(archive)
    with tarfile.open(archive) as tar:
        tar.extractall(checkout.folder / "mine", filter="data")
    data = {"name": "mine", "source": "mine", "size": 8, "validation": 10}
    target = "results/own/splits.json"
    run(checkout, data, target)
    planned = functools.partial(checkout.planned, target, "--configfile", "own.yaml")
    assert planned() == {}
    image = checkout.folder / "mine/train/dark/0.png"
    image.rename(image.parents[1] / "light/20.png")
    assert planned() == {"dataset": 1, "splits": 1}


def test_one_loss_and_two_interventions_have_predictors_and_no_verdicts(checkout_factory):
    checkout = checkout_factory()
    config = CONFIG | {"objectives": {"focal": {"gamma": [0]}}, "models": {"small_cnn": {}}}
    del config["regularisers"]
    config["data"] = {"name": "digits", "train": 100, "validation": 100}
    config["variants"] = {
        "short": {"training": {"epochs": 1}},
        "noise": {"data": {"label_noise": [0.1, 0.2]}},
    }
    (checkout.folder / "one.yaml").write_text(yaml.safe_dump(config))
    planned = checkout.planned("--configfile", "one.yaml")
    assert planned["train"] == 4
    assert {"tables_predictors", "figures_predictors"} <= set(planned)
    assert not {"tables_claims", "figures_verdicts", "figures_trace"} & set(planned)
    planned = checkout.planned("verify", "--configfile", "one.yaml")
    assert {"verify", "tables_summary"} <= set(planned)
    assert "tables_claims" not in planned


def idx(array):
    header = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    return header + array.tobytes()


def test_archives_are_downloaded_verified_and_used(checkout_factory, tmp_path):
    """The registry of the copy names a server of this test with archives of this test."""
    generator = np.random.default_rng(0)
    about = "idx,28,90,255,0|1|2|3|4|5|6|7|8|9"
    rows = ["dataset,archive,over,sha256,bytes,mirrors,grounds,format,side,images,scale,classes"]
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        for pool, count in (("train", 60), ("t10k", 30)):
            labels = np.arange(count, dtype=np.uint8) % 10
            images = generator.integers(0, 256, (count, 28, 28), dtype=np.uint8)
            for name, array in (("images-idx3", images), ("labels-idx1", labels)):
                content, file = idx(array), f"{pool}-{name}-ubyte.gz"
                (tmp_path / file).write_bytes(gzip.compress(content))
                digest = hashlib.sha256(content).hexdigest()
                rows.append(
                    f"mnist,{file},content,{digest},{len(content)},{address}/{file},test,{about}"
                )
        checkout = checkout_factory()
        table = checkout.folder / "src/focal_curvature/data/sources.csv"
        table.write_text("\n".join(rows) + "\n")
        data = {"name": "mnist", "validation": 20}
        target = "results/own/splits.json"
        run(checkout, data, target, NO_PROXY="127.0.0.1", no_proxy="127.0.0.1")
        server.shutdown()
    assert len(json.loads((checkout.folder / target).read_text())["train"]) == 40
    images = np.load(checkout.folder / "results/datasets/mnist/images.npy")
    assert images.shape == (90, 1, 28, 28)
