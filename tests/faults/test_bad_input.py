"""Bad and hostile configurations: never a traceback, always the key and the remedy."""

import copy
import datetime
import json
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from focal_curvature import registry
from focal_curvature.config import ConfigError, load

ROOT = Path(__file__).parents[2]
DEFAULT = yaml.safe_load((ROOT / "config.yaml").read_text())

# A model of this test's own, beside the broken ones.
MODULES = {
    "fine.py": "def net(classes, channels, size, hidden, *, depth=2): ...\n",
    "loose.py": "def net(classes, channels, size, **anything): ...\n",
    "starry.py": "from fine import *\n",
    "named.py": "from fine import net as other\n",
    "classy.py": "class Loss:\n    def __init__(self, weight, power=1): ...\n",
    "broken.py": "def net(:\n",
    "binary.py": "\0\1\2",
    "failing/__init__.py": "raise RuntimeError('no licence')\n",
    "failing/inner.py": "def net(): ...\n",
}
LOOP = ["x"]
LOOP.append(LOOP)
LONG = "a" * 300

# change of the default configuration -> the key, what is said of it
BAD = {
    "model argument": ("models.small_cnn.arguments", {"widht": 3}, "widht", "did you mean width"),
    "argument of none": ("models.lenet", {"arguments": {"width": 3}}, "width", "takes none"),
    "data's argument": ("models.small_cnn.arguments", {"classes": 3}, "classes", "width"),
    "own argument": (
        "models.m",
        {"factory": "fine:net", "arguments": {"hiden": 1}},
        "hiden",
        "hid",
    ),
    "argument missing": (
        "models.m",
        {"factory": "fine:net"},
        "models.m.arguments.hidden",
        "missing",
    ),
    "number as argument": ("models.small_cnn.arguments", {1: 2}, "models.small_cnn.arguments", "1"),
    "date as argument": (
        "models.small_cnn.arguments",
        {"width": datetime.date(2024, 1, 1)},
        "models.small_cnn.arguments.width",
        "quote it",
    ),
    "bytes": ("device", b"cpu", "device", "quote it"),
    "loss parameter": ("objectives.brier", {"gamma": [1]}, "objectives.brier.gamma", "takes none"),
    "parameter typo": ("objectives.dual_focal", {"gama": [1]}, "gama", "did you mean gamma"),
    "parameter missing": ("objectives.label_smoothing", {}, "epsilon", "missing"),
    "class's parameter": (
        "objectives.mine",
        {"factory": "classy:Loss", "wieght": [1]},
        "objectives.mine.wieght",
        "did you mean weight",
    ),
    "text as parameter": ("objectives.focal.gamma", ["2"], "gamma[0]", "without quotes"),
    "nested list": ("objectives.focal.gamma", [[1]], "gamma[0]", "a number"),
    "percent as a share": (
        "objectives.label_smoothing",
        {"epsilon": [0.05, 5]},
        "objectives.label_smoothing.epsilon[1]",
        "too large: at most 1",
    ),
    "negative parameter": (
        "objectives.dual_focal",
        {"gamma": -1},
        "dual_focal.gamma",
        "at least 0",
    ),
    "no factor": ("objectives.rescaled_ce", {"factor": [0]}, "factor[0]", "more than 0"),
    "null parameter": ("objectives.label_smoothing", {"epsilon": None}, "epsilon", "number"),
    "empty parameter": ("objectives.label_smoothing", {"epsilon": []}, "epsilon", "empty"),
    "null objective": ("objectives.focal", None, "objectives.focal", "a mapping"),
    "list of objectives": ("objectives", ["focal"], "objectives", "a mapping"),
    "list of models": ("models", ["small_cnn"], "models", "a mapping"),
    "syntax error": ("models.m", {"factory": "broken:net"}, "models.m", "line 1"),
    "not python": ("models.m", {"factory": "binary:net"}, "models.m", "binary"),
    "package fails": ("models.m", {"factory": "failing.inner:net"}, "models.m", "no licence"),
    "no such function": (
        "models.m",
        {"factory": "focal_curvature.models.mlp:nope"},
        "models.m",
        "mlp.py defines no nope",
    ),
    "no such loss": ("objectives.mine", {"factory": "classy:Los"}, "mine", "defines no Los"),
    "dots": ("models.m", {"factory": "a..b:net"}, "models.m", "a..b"),
    "dot at the end": ("models.m", {"factory": "fine.:net"}, "models.m", "fine."),
    "module in a module": ("models.m", {"factory": "fine.inner:net"}, "models.m", "fine.inner"),
    "path for a module": ("models.m", {"factory": "../fine:net"}, "models.m.factory", "must match"),
    "call for a factory": ("models.m", {"factory": "fine:net()"}, "models.m.factory", "must match"),
    "factory is a list": ("models.m", {"factory": ["fine:net"]}, "models.m.factory", "text"),
    "newline": ("experiment", "digits\n", "experiment", "must match"),
    "newline in a data set": ("data.name", "digits\n", "data.name", "must match"),
    "newline in a model": ("models", {"small_cnn\n": {}}, "models", "must match"),
    "newline in a factory": ("models.m", {"factory": "fine:net\n"}, "factory", "must match"),
    "newline in an objective": ("objectives", {"focal\n": {"gamma": [1]}}, "objectives", "match"),
    "long experiment": ("experiment", LONG, "experiment", "at most 100"),
    "long model": ("models", {LONG: {}}, "models", "at most 100"),
    "many digits": ("objectives.focal.gamma", [1e-250], "objectives.focal", "at most 200"),
    "huge number": ("objectives.focal.gamma", [1e300], "objectives.focal", "at most 200"),
    "huge seed": ("seeds", [10**400], "seeds[0]", "too large"),
    "negative seed": ("seeds", [-1], "seeds[0]", "at least 0"),
    "seed with a point": ("seeds", [1.0], "seeds[0]", "write 1"),
    "epochs with a point": ("training.epochs", 60.0, "training.epochs", "write 60"),
    "true as a seed": ("seeds", [True], "seeds[0]", "whole number"),
    "quoted epochs": ("training.epochs", "60", "training.epochs", "write 60 without quotes"),
    "epochs as a power": ("training.epochs", "6e1", "training.epochs", "write 60 without quotes"),
    "seeds as text": ("seeds", "0..4", "seeds", "a list"),
    "nested seeds": ("seeds", [[0]], "seeds[0]", "whole number"),
    "itself": ("seeds", LOOP, "itself", "without"),
    "no threads": ("threads", 0, "threads", "at least 1"),
    "half a thread": ("threads", 0.5, "threads", "whole number"),
    "nesterov as text": ("training.nesterov", "yes", "training.nesterov", "true or false"),
    "milestones": ("training.milestones", [0], "training.milestones[0]", "at least 1"),
    "factor": ("training.factor", 2, "training.factor", "at most 1"),
    "clip": ("training.clip_norm", 0, "training.clip_norm", "more than 0"),
    "reduction": ("training.reduction", "means", "training.reduction", "did you mean mean"),
    "decay": ("training.weight_decay", -1, "training.weight_decay", "at least 0"),
    "optimiser": ("training.optimizer", "adagrad", "training.optimizer", "known are"),
    "one probe": ("curvature.probes", 1, "curvature.probes", "at least 2"),
    "samples": ("curvature.samples", 401, "curvature.samples", "at most 400"),
    "trajectory's samples": ("trajectory.samples", 401, "trajectory.samples", "at most 400"),
    "traces' samples": ("training.trace_samples", 401, "training.trace_samples", "at most 400"),
    "a model's": (
        "models.small_cnn.training",
        {"trace_samples": 401},
        "models.small_cnn.training.trace_samples",
        "at most 400",
    ),
    "geometry of nothing": ("objectives", {"brier": {}}, "geometry.objectives[0]", "focal"),
    "chunk": ("curvature.chunk", 0, "curvature.chunk", "at least 1"),
    "dtype": ("curvature.dtype", "float16", "curvature.dtype", "float32"),
    "bins": ("calibration.bins", 1, "calibration.bins", "at least 2"),
    "bins as a list": ("calibration.bins", [15], "calibration.bins", "whole number"),
    "jobs": ("jobs.curvature", "seed", "jobs.curvature", "cell"),
    "checkpoints": ("jobs.checkpoint_seconds", -1, "jobs.checkpoint_seconds", "at least 0"),
    "no images": ("data.train", 0, "data.train", "at least 1"),
    "known name": (
        "data",
        {"name": "digits", "source": ".", "size": 8, "validation": 5},
        "data.name",
        "name your own",
    ),
    "hash": ("data.sha256", "ABC", "data.sha256", "must match"),
    "directories": ("data.directories", "here", "data.directories", "a list"),
}
SOURCES = {
    "command": "$(touch hacked)",
    "quotes": "a'; touch hacked; '",
    "zero byte": "a\0b",
    "too long": LONG,
    "newline": "a\nb",
    "under a file": "Snakefile/x",
    "braces": "{wildcard}",
}


def changed(key, value):
    config = copy.deepcopy(DEFAULT)
    *parents, last = key.split(".")
    node = config
    for parent in parents:
        node = node.setdefault(parent, {})
    node[last] = value
    return config


def own(source):
    return {"name": "mine", "source": source, "size": 8, "validation": 2}


@pytest.fixture(scope="module", autouse=True)
def modules(tmp_path_factory):
    folder = tmp_path_factory.mktemp("modules")
    for name, text in MODULES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield folder


def problems(config):
    with pytest.raises(ConfigError) as caught:
        load(config)
    return str(caught.value).splitlines()


@pytest.mark.parametrize(("key", "value", "place", "remedy"), BAD.values(), ids=BAD)
def test_a_mistake_is_told_with_its_key_and_its_remedy(key, value, place, remedy):
    lines = problems(changed(key, value))
    assert any(place in line and remedy in line for line in lines), lines


LOSS_PARAMETERS = [
    (loss, name)
    for loss, path in registry.names("losses").items()
    for name in registry.parameters(path)[0]
]


@pytest.mark.parametrize("value", [-1, 0, 0.5, 1, 5])
@pytest.mark.parametrize(("loss", "name"), LOSS_PARAMETERS)
def test_the_schema_takes_the_parameters_that_the_loss_takes(loss, name, value):
    config = changed(f"objectives.{loss}", {name: [value]})
    config |= dict.fromkeys(("geometry", "theory", "controls", "trajectory"))  # all of focal runs
    try:
        registry.resolve(registry.import_path("losses", loss))(**{name: value})
    except ValueError:
        (line,) = problems(config)
        assert line.startswith(f"objectives.{loss}.{name}[0]: {value} is too ")
    else:
        load(config)


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_a_source_that_is_not_there_is_told_in_one_line(source):
    lines = problems(changed("data", own(source)))
    assert len(lines) == 1
    assert lines[0].startswith("data.source: ")
    assert lines[0].endswith("does not exist: give a folder or a file")


def test_a_source_with_braces_is_refused(tmp_path):
    (tmp_path / "{model}").mkdir()
    (line,) = problems(changed("data", own(str(tmp_path / "{model}"))))
    assert line.startswith("data.source: ")
    assert line.endswith("rename it")


def test_what_a_factory_takes_is_taken():
    load(changed("models.m", {"factory": "fine:net", "arguments": {"hidden": 1}}))
    load(changed("models.m", {"factory": "starry:net", "arguments": {"hidden": 1}}))
    load(changed("models.m", {"factory": "named:other", "arguments": {"hidden": 1}}))
    load(changed("models.m", {"factory": "loose:net", "arguments": {"x": 1}}))
    load(changed("objectives.mine", {"factory": "classy:Loss", "weight": [1]}))


TEXT = st.text(max_size=8) | st.sampled_from(["{x}", "$(x)", "a b", "'", "../..", "\n", "\0", "~"])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | TEXT | st.dates()
ANY = st.recursive(
    SCALARS,
    lambda x: st.lists(x, max_size=3) | st.dictionaries(TEXT | st.integers(), x, max_size=3),
)
SECTIONS = ["data", "models", "objectives", "training", "curvature", "calibration", "jobs"]
PLACES = [
    *DEFAULT,
    *(f"{section}.{key}" for section in SECTIONS for key in DEFAULT[section]),
    "models.small_cnn.arguments",
    "models.small_cnn.training",
    "models.small_cnn.factory",
    "models.small_cnn.arguments.width",
    "objectives.focal.factory",
    "data.source",
    "data.directories",
]


@settings(max_examples=300, suppress_health_check=list(HealthCheck))
@given(changes=st.lists(st.tuples(st.sampled_from(PLACES), ANY), min_size=1, max_size=3))
def test_whatever_is_written_is_taken_or_refused_with_its_key(changes):
    config = copy.deepcopy(DEFAULT)
    for key, value in changes:
        node = config
        *parents, last = key.split(".")
        for parent in parents:
            node = node.setdefault(parent, {}) if isinstance(node, dict) else {}
        if isinstance(node, dict):
            node[last] = value
    try:
        load(config)
    except ConfigError as error:
        # These refer to others: what no longer fits may be told where it refers.
        keys = {"data", "curvature", "training", "geometry", "theory", "controls", "trajectory"}
        keys |= {key.split(".")[0] for key, _ in changes}
        for line in str(error).splitlines():
            assert re.match(r"\w+", line)[0] in keys
            assert ": " in line


@settings(max_examples=100)
@given(config=ANY.filter(lambda value: isinstance(value, dict)))
def test_anything_at_all_is_refused_in_lines(config):
    assert all(": " in line for line in problems(config))


def dry_run(checkout, config, *more):
    file = checkout.folder / "config/hostile.yaml"
    file.write_text(yaml.safe_dump(config, allow_unicode=True))
    return checkout.snakemake("-n", "--configfile", "config/hostile.yaml", *more, check=False)


@pytest.mark.parametrize("name", ["model argument", "syntax error", "newline", "itself", "samples"])
def test_snakemake_itself_tells_a_mistake_before_any_job(checkout, modules, name):
    key, value, place, remedy = BAD[name]
    for file in MODULES:
        (checkout.folder / file).parent.mkdir(exist_ok=True)
        (checkout.folder / file).write_text((modules / file).read_text())
    done = dry_run(checkout, changed(key, value))
    assert done.returncode == 1
    assert any(place in line and remedy in line for line in done.stdout.splitlines()), done.stdout
    assert "Traceback" not in done.stdout


@pytest.mark.parametrize("name", ["config.yaml", "workflow/claims.yaml"])
def test_snakemake_itself_tells_a_key_that_is_there_twice(checkout_factory, name):
    folder = checkout_factory()
    file = folder.folder / name
    text = file.read_text()
    file.write_text(text + text)
    done = folder.snakemake("-n", check=False)
    assert done.returncode == 1
    assert f"{name}: " in done.stdout and "is there twice, in lines " in done.stdout
    assert "Traceback" not in done.stdout


def test_a_source_is_a_path_and_nothing_else(checkout):
    """A real job reads images from a folder whose name would do harm in a shell."""
    name = "my ünï; touch hacked; $(touch hacked) 'q\" && touch hacked #"
    for split, count in (("train", 6), ("test", 2)):
        for k, label in enumerate(("dark", "light")):
            folder = checkout.folder / name / split / label
            folder.mkdir(parents=True)
            for i in range(count):
                Image.new("L", (8, 8), 200 * k + i).save(folder / f"{i}.png")
    config = changed("data", own(name))
    done = dry_run(checkout, config)
    assert done.returncode == 0, done.stdout
    target = "results/datasets/mine/dataset.json"
    arguments = ("--cores", "1", "--configfile", "config/hostile.yaml", "--printshellcmds")
    checkout.snakemake(target, *arguments)
    about = json.loads((checkout.folder / target).read_text())
    assert about["pools"] == {"train": [0, 12], "test": [12, 16]}
    assert not [*checkout.folder.rglob("hacked")]


def test_no_rule_and_no_module_gives_text_to_a_shell():
    code = [*(ROOT / "src").rglob("*.py"), *(ROOT / "workflow").rglob("*.py")]
    rules = (ROOT / "workflow").rglob("*.smk")
    for file in (*code, *rules):
        text = file.read_text()
        assert not re.search(r"^\s+shell:|shell=True|os\.system|shell\(", text, re.MULTILINE), file
        assert not re.search(r"\beval\(\s*[\"'f]|\bexec\(", text), file
