"""Runs the workflow's scripts in real processes: imports torch once, then forks one for each.

python driver.py FOLDER COMMAND [ARGUMENT...]    prints what happened, as JSON
"""

import itertools
import json
import os
import random
import resource
import runpy
import shutil
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "workflow/scripts")]
os.environ["PYTHONUNBUFFERED"] = "1"

import torch  # noqa: E402

from focal_curvature import curvature, training  # noqa: E402, F401
from focal_curvature.curvature import pyhessian_adapter  # noqa: E402, F401
from focal_curvature.data import arrays, digits, splits  # noqa: E402
from focal_curvature.determinism import deterministic  # noqa: E402
from focal_curvature.files import exclusive, sha256  # noqa: E402
from focal_curvature.runs import Objective, RunSpec  # noqa: E402
from focal_curvature.settings.training import Training  # noqa: E402

deterministic(1)  # imports more of torch

BITS = ("model.pt", "history.csv", "logits.npz")
TRAINING = Training(
    epochs=80,
    batch_size=25,
    learning_rate=0.05,
    weight_decay=5e-4,
    augmentation="crop-flip",
    evaluate_every=10,
)


class Files(list):
    """What Snakemake gives as input or output: a list, with names for its parts."""

    def __init__(self, **named):
        self.__dict__ |= named
        values = (v if isinstance(v, list) else [v] for v in named.values())
        super().__init__(itertools.chain.from_iterable(values))


class Bench:
    """A data set, its splits, and runs in folders of their own."""

    def __init__(self, folder, images=100):
        self.folder = folder
        self.data = [
            str(folder / "data" / name) for name in ("dataset.json", "images.npy", "labels.npy")
        ]
        self.splits = str(folder / "splits.json")
        if not folder.joinpath("data").exists():
            digits.prepare(folder / "data")
            found = splits.split(
                arrays.read(folder / "data"), train=images, validation=50, test=50, seed=0
            )
            splits.write(Path(self.splits), found)

    def run(self, name):
        return self.folder / name

    def train(self, name, checkpoint_seconds=0, width=4, **settings):
        """Describe a training job as Snakemake does."""
        return self._job(name, [self.run(name)], checkpoint_seconds, width, settings)

    def train_cell(self, name, checkpoint_seconds=0, **settings):
        """Describe the job that trains two seeds as one."""
        runs = [self.run(name) / f"seed{seed}" for seed in range(2)]
        return self._job(name, runs, checkpoint_seconds, 4, {"stacked": True} | settings)

    def _job(self, name, runs, checkpoint_seconds, width, settings):
        one = RunSpec(
            dataset="digits",
            model="small_cnn",
            model_factory="focal_curvature.models.small_cnn:small_cnn",
            model_arguments={"width": width},
            objective=Objective("focal", "focal_curvature.losses.focal:focal", {"gamma": 2}),
            seed=0,
            training=replace(TRAINING, **settings),
        )
        return "train", SimpleNamespace(
            rule="train",
            input=Files(dataset=self.data, splits=self.splits),
            output=Files(
                model=[str(run / "model.pt") for run in runs],
                history=[str(run / "history.csv") for run in runs],
                logits=[str(run / "logits.npz") for run in runs],
                run=[str(run / "run.json") for run in runs],
            ),
            params=SimpleNamespace(
                specs=[replace(one, seed=seed).to_dict() for seed in range(len(runs))],
                bins=15,
                sources="of this checkout",
                following=None,
            ),
            config={"device": "cpu", "jobs": {"checkpoint_seconds": checkpoint_seconds}},
            threads=1,
            resources={},
            log=[str(self.folder / f"{name}.log")],
        )

    def curvature(self, name, into, more=(), **settings):
        """Describe the job that measures the curvature of a run, or of more."""
        runs = [self.run(run) for run in (name, *more)]
        return "curvature", SimpleNamespace(
            rule="curvature",
            input=Files(
                dataset=self.data,
                splits=self.splits,
                model=[str(run / "model.pt") for run in runs],
                run=[str(run / "run.json") for run in runs],
            ),
            output=Files(
                objective=[str(run / into / "objective.json") for run in runs],
                cross_entropy=[str(run / into / "cross_entropy.json") for run in runs],
            ),
            params=SimpleNamespace(curvature={"split": "train", "samples": None} | settings),
            config={"device": "cpu"},
            threads=1,
            resources={},
            log=[str(self.folder / f"{name}.{into}.log")],
        )


def start(job, before=lambda: None):
    """Fork a process that runs a script as Snakemake would; return its id."""
    script, description = job
    pid = os.fork()
    if pid:
        return pid
    Path(description.log[0]).unlink(missing_ok=True)
    sink = os.open(description.log[0] + ".screen", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(sink, 1)
    os.dup2(sink, 2)
    code = 70
    try:
        before()
        runpy.run_path(
            str(ROOT / f"workflow/scripts/{script}.py"), init_globals={"snakemake": description}
        )
        code = 0
    except SystemExit as stop:
        code = stop.code or 0
    finally:
        os._exit(code)


def end(pid):
    """Wait for a process; return its exit status, minus the signal's number if one ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def screen(job):
    return Path(job[1].log[0] + ".screen").read_text()


def bits(folder):
    return [sha256(folder / name) for name in BITS]


def resumed(folder):
    return json.loads((folder / "run.json").read_text())["resumed_from_epoch"]


def names(folder):
    return sorted(file.name for file in folder.iterdir())


def until(condition, seconds=60):
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "waited in vain"
        time.sleep(0.01)


def undisturbed(bench, **settings):
    job = bench.train("undisturbed", **settings)
    began = time.monotonic()
    assert end(start(job)) == 0, screen(job)
    return bits(bench.run("undisturbed")), time.monotonic() - began


def kill(bench, times):
    """Kill one run again and again at random moments; should it finish, begin another."""
    expected, seconds = undisturbed(bench)
    chance = random.Random(0)
    job, folder = bench.train("killed"), bench.run("killed")
    killed, finished, epochs, partial = 0, [], [], 0
    while killed < int(times) or not finished:
        pid = start(job)
        if killed < int(times):
            # Mostly well before the end, so that a run is killed several times.
            time.sleep(chance.uniform(0, 0.4) * seconds)
            os.kill(pid, signal.SIGKILL)
        code = end(pid)
        if code == -signal.SIGKILL:
            killed += 1
            partial += any(name.endswith(".part") for name in names(folder))
        else:
            assert code == 0, screen(job)
            finished.append(bits(folder) == expected)
            epochs.append(resumed(folder))
            left = names(folder)
            shutil.rmtree(folder)
    return {
        "kills": killed,
        "identical": finished,
        "resumed": epochs,
        "left": left,
        "half_written": partial,
        "seconds": seconds,
    }


def deadly(number, when):
    """Return what lets a process die at one of its writes, before or after the file's name."""
    replace, calls = Path.replace, itertools.count(1)

    def dying(self, target):
        at = next(calls)
        if at == number and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        replace(self, target)
        if at == number:
            os.kill(os.getpid(), signal.SIGKILL)

    return lambda: setattr(Path, "replace", dying)


def writes(bench, when):
    """Kill a run at each of its writes in turn, before or after the file gets its name."""
    settings = {"epochs": 3, "evaluate_every": 1}
    expected, _ = undisturbed(bench, **settings)
    results = []
    for number in itertools.count(1):
        job, folder = bench.train(f"write{number}", **settings), bench.run(f"write{number}")
        if end(start(job, deadly(number, when))) == 0:
            return results
        whole = [name for name in names(folder) if not name.startswith(".")]
        assert end(start(job)) == 0, screen(job)
        results.append(
            {
                "found": whole,
                "resumed": resumed(folder),
                "identical": bits(folder) == expected,
                "left": names(folder),
            }
        )
        shutil.rmtree(folder)


def changed(bench):
    """Kill a run after its first checkpoint and start it in other circumstances, or in none."""

    def bins(job):
        job[1].params.bins = 10

    def version(job):
        torch.__version__ += ".other"

    results = {}
    for change in (None, bins, version):
        name = change.__name__ if change else "nothing"
        job = bench.train(name, epochs=2)
        assert end(start(job, deadly(1, "after"))) == -signal.SIGKILL
        before = (lambda job=job, change=change: change(job)) if change else lambda: None
        assert end(start(job, before)) == 0, screen(job)
        results[name] = resumed(bench.run(name))
    return results


def terminate(bench, times):
    """Ask a run to stop, again and again; it keeps no other checkpoints than those."""
    expected, seconds = undisturbed(bench)
    job, folder = bench.train("stopped", checkpoint_seconds=3600), bench.run("stopped")
    codes, lines, before = [], [], []
    for _ in range(int(times)):
        pid = start(job)
        log = Path(job[1].log[0])
        until(log.exists)
        time.sleep(0.08 * seconds)
        os.kill(pid, signal.SIGTERM)
        codes.append(end(pid))
        lines.append(screen(job))
        before.append(names(folder))
    code = end(start(job))
    return {
        "codes": codes,
        "screens": lines,
        "left": before,
        "last": code,
        "identical": bits(folder) == expected,
        "resumed": resumed(folder),
    }


def terminate_cell(bench):
    """Ask a job that trains two seeds as one to stop, and let it go on."""
    code = end(start(bench.train_cell("undisturbed")))
    assert code == 0, screen(bench.train_cell("undisturbed"))
    job = bench.train_cell("stopped", checkpoint_seconds=3600)
    seeds = [bench.run("stopped") / f"seed{seed}" for seed in range(2)]
    pid = start(job)
    until(Path(job[1].log[0]).exists)
    time.sleep(0.3)
    os.kill(pid, signal.SIGTERM)
    result = {"code": end(pid), "screen": screen(job), "left": [names(seed) for seed in seeds]}
    result["last"] = end(start(job))
    result["resumed"] = [resumed(seed) for seed in seeds]
    result["identical"] = [
        bits(seed) == bits(bench.run("undisturbed") / seed.name) for seed in seeds
    ]
    result["after"] = [names(seed) for seed in seeds]
    return result


def twins(bench):
    """Start a second job of a run under other settings while the first still works."""
    first = bench.train("twins", learning_rate=0.01)
    second = bench.train("twins", learning_rate=0.05)
    second[1].log = [str(bench.folder / "second.log")]
    expected, _ = undisturbed(bench)
    one = start(first)
    until(bench.run("twins").joinpath("checkpoint.pt").exists)
    two = start(second)
    codes = [end(one), end(two)]
    return {"codes": codes, "screen": screen(second), "fresh": bits(bench.run("twins")) == expected}


def locked(bench):
    """Measure two runs in one job while another process has the folder of the second."""
    for name in ("one", "two"):
        job = bench.train(name, epochs=1)
        assert end(start(job)) == 0, screen(job)
    settings = {"estimator": "pyhessian", "samples": 50, "probes": 2, "max_iterations": 2}
    job = bench.curvature("one", "curvature", more=["two"], **settings)
    held = bench.folder / "held"
    other = os.fork()
    if not other:
        with exclusive(bench.run("two") / "curvature"):
            held.touch()
            time.sleep(60)
        os._exit(0)
    until(held.exists)
    pid = start(job)
    log, waiting = Path(job[1].log[0]), "waiting for another process"
    until(lambda: log.exists() and waiting in log.read_text())
    before = names(bench.run("one") / "curvature")
    os.kill(other, signal.SIGKILL)
    end(other)
    return {"before": before, "code": end(pid), "after": names(bench.run("two") / "curvature")}


def limit(megabytes):
    """Limit this process's memory to what it has and so much more.

    Its stack grows before: under a limit it may not, and then what frees a deep graph crashes.
    """
    nested, usual = [], sys.getrecursionlimit()
    for _ in range(5000):
        nested = [nested]
    sys.setrecursionlimit(6000)
    repr(nested)
    sys.setrecursionlimit(usual)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + megabytes * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def memory(bench):
    """Train, and measure curvature, where memory is short.

    A layer's outputs are 79 MB: these are refused, not what libraries ask for beside them.
    """
    job = bench.train("greedy", epochs=1, width=256, batch_size=1200)
    code = end(start(job, lambda: limit(150)))
    result = {"train": {"code": code, "screen": screen(job)}}
    modest = bench.train("modest", epochs=1, width=256, batch_size=200)
    assert end(start(modest)) == 0, screen(modest)
    settings = {"estimator": "pyhessian", "samples": 1200, "probes": 2, "max_iterations": 2}
    job = bench.curvature("modest", "none", **settings)
    result["none"] = {"code": end(start(job, lambda: limit(60))), "screen": screen(job)}
    return result


if __name__ == "__main__":
    folder, command, *arguments = sys.argv[1:]
    bench = Bench(Path(folder), images=1200 if command == "memory" else 100)
    print(json.dumps(globals()[command](bench, *arguments)))
