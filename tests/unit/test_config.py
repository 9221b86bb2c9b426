"""Each class of mistake gives lines that name the key, the value and what is allowed."""

import copy
from pathlib import Path

import keys
import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from focal_curvature.config import ConfigError, as_yaml, load, once, schema

ROOT = Path(__file__).parents[2]
DEFAULT = yaml.safe_load((ROOT / "config.yaml").read_text())


@pytest.mark.parametrize(
    "file", [ROOT / "config.yaml", *sorted((ROOT / "config").glob("*.yaml"))], ids=lambda f: f.name
)
def test_shipped_configurations_are_valid(file, tmp_path, monkeypatch):
    config = yaml.safe_load(file.read_text())
    if source := config["data"].get("source"):  # is not shipped
        monkeypatch.chdir(tmp_path)
        Path(source).parent.mkdir()
        if source.endswith(".npz"):  # whose headers are read
            np.savez(source, inputs=np.zeros((30_000, 4), np.uint8))
        else:
            Path(source).touch()
    load(config)


def test_every_key_is_explained():
    about = [row for row in keys.rows(schema()) if row[1] and not row[3]]
    assert not about


def test_defaults_are_filled_in_and_the_input_is_left_alone():
    given_config = copy.deepcopy(DEFAULT)
    del given_config["curvature"], given_config["device"]
    before = copy.deepcopy(given_config)
    complete = load(given_config)
    assert complete["curvature"]["probes"] == 50
    assert complete["device"] == "auto"
    assert complete["training"]["nesterov"] is False
    assert complete["models"]["small_cnn"] == {
        **{"factory": None, "arguments": {}, "training": {}, "resources": {}}
    }
    assert given_config == before


def test_a_number_has_one_spelling():
    config = copy.deepcopy(DEFAULT)
    config["objectives"]["focal"]["gamma"] = [0.0, 3.0, 2.5]
    config["training"]["learning_rate"] = 1.0
    complete = load(config)
    assert repr(complete["objectives"]["focal"]["gamma"]) == "[0, 3, 2.5]"
    assert repr(complete["training"]["learning_rate"]) == "1"


# key to set (None deletes) -> words that the message must hold
MISTAKES = {
    "penalty on a loss that there is not": (
        "regularisers.gauss_newton_trace.objectives",
        ["focal-7"],
        ["regularisers.gauss_newton_trace.objectives", "'focal-7' is unknown"],
    ),
    "variant's setting": (
        "variants",
        {"long": {"training": {"epoch": [3, 5]}}},
        ["variants.long.training.epoch", "did you mean epochs"],
    ),
    "variant's value": (
        "variants",
        {"noise": {"data": {"label_noise": [0.1, 1.5]}}},
        ["variants.noise.data.label_noise", "1.5", "at most 1"],
    ),
    "variant of other data": (
        "variants",
        {"noise": {"data": {"test": 100}}},
        ["variants.noise.data.test", "label_noise"],
    ),
    "variant of no model": (
        "variants",
        {"short": {"training": {"epochs": 3}, "models": ["lennet"]}},
        ["variants.short.models", "'lennet' is unknown"],
    ),
    "variant of no value": (
        "variants",
        {"long": {"training": {"epochs": []}}},
        ["variants.long.training.epochs", "is empty", "at least 1"],
    ),
    "variant of a list": (
        "variants",
        {"few": {"data": {"train": [[20]]}}},
        ["variants.few.data.train", "[20]", "no single value"],
    ),
    "parameter that is no name": (
        "objectives.focal",
        {"gamma": [0, 2], 1: 2},
        ["objectives.focal.1"],
    ),
    "a number that Snakemake takes for endless": (
        "objectives.focal.gamma",
        [0, 3, 1e22],
        ["objectives.focal", "twenty equal ones in a row", "fewer digits"],
    ),
    "factor without an end": ("controls.factors", [1e308], ["controls.factors[0]", "at most"]),
    "bins without an end": ("calibration.bins", 10**30, ["calibration.bins", "at most 1000"]),
    "halves of one sample": (
        "curvature",
        {"samples": 1, "halves": True},
        ["curvature.samples: 1", "2 at least"],
    ),
    "more samples than a variant has": (
        "variants",
        {"few": {"data": {"train": 20}}},
        ["trajectory.samples", "at most 20"],
    ),
    "theory of another seed": ("theory.seeds", [9], ["theory.seeds", "9", "not in seeds"]),
    "theory without focal runs": ("objectives.focal.gamma", [0], ["theory", "value above 0"]),
    "controls of another seed": ("controls.seeds", [9], ["controls.seeds", "9", "not in seeds"]),
    "controls of no run": (
        "controls.objectives",
        ["focal-7"],
        ["controls.objectives[0]", "'focal-7' is unknown"],
    ),
    "controls of a run without gamma": (
        "controls.objectives",
        ["hessian_trace"],
        ["controls.objectives", "ce-hessian_trace-0.001", "not focal loss alone"],
    ),
    "factor zero": ("controls.factors", [0], ["controls.factors[0]", "more than 0"]),
    "unknown key": ("trainings", {}, ["trainings", "did you mean training"]),
    "unknown inner key": ("training.learning_rat", 1, ["learning_rat", "learning_rate"]),
    "missing": ("training.epochs", None, ["training.epochs", "missing", "passes"]),
    "missing section": ("seeds", None, ["seeds", "missing"]),
    "exponent without a point": ("training.weight_decay", "5e-4", ["'5e-4'", "write 5.0e-4"]),
    "positive exponent": ("training.learning_rate", "1e2", ["'1e2'", "write 1.0e+2"]),
    "quoted number": ("training.learning_rate", "0.1", ["'0.1'", "write 0.1 without quotes"]),
    "text": ("training.epochs", "many", ["'many'", "whole number"]),
    "fraction": ("training.epochs", 1.5, ["training.epochs", "1.5", "whole number"]),
    "boolean for number": ("training.epochs", True, ["training.epochs", "True"]),
    "zero": ("training.learning_rate", 0, ["training.learning_rate", "more than 0"]),
    "below": ("training.epochs", 0, ["training.epochs", "0", "at least 1"]),
    "above": ("training.momentum", 1.0, ["training.momentum", "less than 1"]),
    "not finite": ("training.learning_rate", float("nan"), ["training.learning_rate", "finite"]),
    "infinite gamma": ("objectives.focal.gamma", [float("inf")], ["gamma[0]", "finite"]),
    "negative gamma": ("objectives.focal.gamma", [-1], ["gamma[0]", "-1", "at least 0"]),
    "gamma twice": ("objectives.focal.gamma", [1, 1.0], ["objectives.focal.gamma", "twice"]),
    "seed twice": ("seeds", [3, 3], ["seeds", "3", "twice"]),
    "no seeds": ("seeds", [], ["seeds", "empty"]),
    "scalar for list": ("seeds", 5, ["seeds", "5", "a list"]),
    "no models": ("models", {}, ["models", "empty"]),
    "unknown data set": ("data.name", "digit", ["data.name", "did you mean digits"]),
    "unknown model": ("models.small_cn", {}, ["models.small_cn", "did you mean small_cnn"]),
    "unknown loss": ("objectives.focl", {"gamma": [1]}, ["objectives.focl", "did you mean focal"]),
    "no strength": (
        "regularisers",
        {"hessian_trace": {"strength": [0]}},
        ["regularisers.hessian_trace.strength[0]", "0", "more than 0"],
    ),
    "negative radius": (
        "regularisers",
        {"sam": {"radius": [-0.1]}},
        ["regularisers.sam.radius[0]", "-0.1", "more than 0"],
    ),
    "strength missing": (
        "regularisers",
        {"gauss_newton_trace": {}},
        ["regularisers.gauss_newton_trace.strength", "missing", "it takes strength"],
    ),
    "unknown parameter": (
        "regularisers",
        {"sam": {"radius": [0.1], "rho": [0.1]}},
        ["regularisers.sam.rho", "radius"],
    ),
    "unknown regulariser": (
        "regularisers",
        {"hessian_trac": {"strength": [1]}},
        ["regularisers.hessian_trac", "did you mean hessian_trace"],
    ),
    "own regulariser without its parameter": (
        "regularisers",
        {"mine": {"factory": "focal_curvature.regularisers.sam:sam"}},
        ["regularisers.mine.radius", "missing"],
    ),
    "strength twice": (
        "regularisers",
        {"hessian_trace": {"strength": [1, 1.0]}},
        ["regularisers.hessian_trace.strength", "twice"],
    ),
    "no probes": (
        "regularisers",
        {"hessian_trace": {"strength": [1], "probes": 0}},
        ["regularisers.hessian_trace.probes", "at least 1"],
    ),
    "unknown device": ("device", "gpu", ["device", "cuda"]),
    "device without float64": ("device", "mps", ["device", "cuda"]),
    "unknown schedule": ("training.schedule", "cosin", ["training.schedule", "cosine"]),
    "unknown estimator": ("curvature.estimator", "pyhesian", ["did you mean pyhessian"]),
    "bad name": ("experiment", "../x", ["experiment", "../x"]),
    "reserved name": ("experiment", "datasets", ["experiment"]),
    "section is a list": ("training", [1], ["training", "a mapping"]),
    "section is empty": ("training", "null", ["training", "a mapping"]),
    "shell in a name": ("data.name", "x; rm -rf /", ["data.name"]),
    "shell in a model": ("models.a$(b)", {}, ["models", "a$(b)"]),
    "variant's value twice": (
        "variants",
        {"long": {"training": {"epochs": [3, 3.0]}}},
        ["variants.long.training.epochs: [3, 3]", "every value once"],
    ),
    "more than all images": ("data.train", 5000, ["data.train: 5000 is too many", "1,797 images"]),
    "more than a public set has": (
        "data",
        {"name": "mnist", "validation": 10, "test": 70000},
        ["data.test: 70000 is too many", "70,000 images"],
    ),
    "fewer than classes": ("data.validation", 1, ["data.validation: 1 is too few", "10 classes"]),
    "no test set": ("data.train", "null", ["data.test: is missing: digits has no test set"]),
    "more than are left, of a variant": (
        "variants",
        {"many": {"data": {"train": [500, 1700]}}},
        ["data.train: 1700 of small_cnn-many-1700 is too many"],
    ),
    "momentum of adam": (
        "training",
        {**DEFAULT["training"], "optimizer": "adam", "momentum": 0.5},
        ["training.momentum: 0.5 has no effect with optimizer: adam"],
    ),
    "beta of sgd": ("training.beta1", 0.5, ["training.beta1", "no effect with optimizer: sgd"]),
    "nesterov without momentum": (
        "training",
        {**DEFAULT["training"], "nesterov": True, "momentum": 0},
        ["training.nesterov: True has no effect", "momentum: 0"],
    ),
    "no milestones": ("training.schedule", "step", ["training.schedule: step", "milestones: []"]),
    "milestones of no step": ("training.milestones", [3], ["milestones", "schedule: cosine"]),
    "factor of no step": ("training.factor", 0.5, ["training.factor", "schedule: cosine"]),
    "milestone after the end": (
        "models.small_cnn",
        {"training": {"schedule": "step", "milestones": [3, 60], "epochs": 60}},
        ["models.small_cnn.training.milestones: [3, 60] has no effect", "epochs: 60"],
    ),
    "override unknown": (
        "models.small_cnn",
        {"training": {"epoch": 3}},
        ["models.small_cnn.training.epoch", "epochs"],
    ),
    "override wrong": (
        "models.small_cnn",
        {"training": {"epochs": 0}},
        ["models.small_cnn.training.epochs"],
    ),
    "foreign module": (
        "models.mine",
        {"factory": "no_such_module:net"},
        ["models.mine", "no_such_module"],
    ),
    "no import path": ("models.mine", {"factory": "net"}, ["models.mine.factory", "net"]),
    "number for a name": ("models", {1: {}}, ["models", "1", "text"]),
    "seed not trained": ("geometry", {"seeds": [99]}, ["geometry.seeds", "99"]),
    "objective not trained": (
        "trajectory",
        {"objectives": ["ce", "focal-7"], "seeds": [0], "epochs": [1, 3, 2]},
        ["trajectory.objectives[1]", "focal-7", "ce"],
    ),
    "seed not followed": (
        "trajectory",
        {"objectives": ["ce"], "seeds": [99], "epochs": [1, 3, 2]},
        ["trajectory.seeds", "99"],
    ),
    "two where three are needed": (
        "trajectory",
        {"objectives": ["ce"], "seeds": [0], "epochs": [1, 3]},
        ["trajectory.epochs: has 2: at least 3"],
    ),
    "none where one is needed": ("seeds", [], ["seeds: is empty: at least 1"]),
    "epoch not reached": (
        "trajectory",
        {"objectives": ["ce"], "seeds": [0], "epochs": [1, 3, 4000]},
        ["trajectory.epochs", "4000", "at most"],
    ),
    "source without size": (
        "data",
        {"name": "mine", "source": str(ROOT / "config"), "validation": 5},
        ["data.size: is missing"],
    ),
    "convolutions on vectors": (
        "data",
        {"name": "letters", "validation": 5},
        ["models.small_cnn: takes images of at least 4 pixels, not vectors"],
    ),
    "images too small": (
        "models",
        {"vgg16_bn": {}},
        ["models.vgg16_bn: takes images of at least 32 pixels, not images of 8 pixels"],
    ),
    "mixed precision of a penalty": (
        "training.precision",
        "bfloat16",
        ["training.precision: bfloat16", "with regularisers", "float32"],
    ),
    "a model of its own compiled": (
        "models.small_cnn",
        {"training": {"compile": True}},
        ["models.small_cnn.training.compile: true", "with regularisers", "false"],
    ),
    "no such precision": ("training.precision", "float16", ["training.precision", "bfloat16"]),
    "nothing to stack": (
        "jobs",
        {"train": "run"},
        ["training.stacked", "jobs.train: cell, not run"],
    ),
    "no such source": (
        "data",
        {"name": "mine", "source": "no/such/folder", "size": 8, "validation": 5},
        ["data.source", "no/such/folder"],
    ),
}


def changed(key, value):
    config = copy.deepcopy(DEFAULT)
    *parents, last = key.split(".")
    node = config
    for parent in parents:
        node = node[parent]
    if value is None:
        del node[last]
    else:
        node[last] = None if value == "null" else value
    return config


@pytest.mark.parametrize(("key", "value", "words"), MISTAKES.values(), ids=MISTAKES)
def test_each_mistake_is_named_in_one_line(key, value, words):
    with pytest.raises(ConfigError) as caught:
        load(changed(key, value))
    lines = str(caught.value).splitlines()
    assert any(all(word in line for word in words) for line in lines), lines


def test_a_setting_that_some_models_heed_is_taken():
    config = changed("training.momentum", 0.5)
    config["variants"] = {
        "adam": {"training": {"optimizer": "adam"}},
        "step": {"training": {"schedule": "step"}},
    }
    config["training"]["milestones"] = [2]
    config["models"]["small_cnn"] = {"training": {"factor": 0.5}}
    load(config)


@pytest.mark.parametrize("test", [None, 20])
def test_data_of_ones_own_without_a_test_set_need_one_of_two_sizes(tmp_path, test):
    np.savez(tmp_path / "a.npz", inputs=np.zeros((30, 4)), labels=np.arange(30) % 2)
    (tmp_path / "a.csv").write_text("x,y,kind\n1,2,3\n")
    given_test = {"test_inputs": np.zeros((9, 4)), "test_labels": np.arange(9) % 2}
    np.savez(tmp_path / "b.npz", inputs=np.zeros((30, 4)), labels=np.arange(30) % 2, **given_test)
    told = {}
    for file in ("a.npz", "a.csv", "b.npz"):
        config = copy.deepcopy(DEFAULT)
        label = "kind" if file == "a.csv" else None
        source = str(tmp_path / file)
        config["data"] = {"name": "own", "source": source, "label": label, "validation": 15}
        config["data"]["test"] = test
        config |= {"models": {"mlp": {}}, "shift": {"objectives": ["focal"]}}
        with pytest.raises(ConfigError) as caught:  # shift, at least
            load(config)
        told[file] = str(caught.value)
    missing = "data.test: is missing: own has no test set: give data.test or data.train"
    vectors = "shift: is for images, not vectors, which own has: leave it out"
    many = "data.test: 20 is too many: own has 30 images for train, validation and test"
    assert told == {
        "a.npz": many if test else missing,
        "a.csv": vectors if test else missing,
        "b.npz": vectors,
    }


def test_a_variant_may_be_without_a_setting():
    found = load(changed("variants", {"plain": {"training": {"clip_norm": [None, 2]}}}))["models"]
    assert {"small_cnn-plain-null", "small_cnn-plain-2"} <= found.keys()


def test_a_plain_network_may_be_mixed_and_compiled():
    config = copy.deepcopy(DEFAULT)
    config["training"] |= {"precision": "bfloat16", "compile": True}
    del config["regularisers"]
    found = load(config)["training"]
    assert (found["precision"], found["compile"]) == ("bfloat16", True)
    # What is only overridden counts for nothing.
    for name in config["models"]:
        config["models"][name] = {"training": {"precision": "float32", "compile": False}}
    load(config)


def test_steps_between_regularised_ones_may_be_mixed():
    config = changed("training.precision", "bfloat16")
    config["regularisers"] = {"gauss_newton_trace": {"strength": [0.1], "every": [2, 4]}}
    load(config)
    config["regularisers"]["gauss_newton_trace"]["every"] = [1, 4]
    with pytest.raises(ConfigError, match=r"every step \(gauss_newton_trace\): take float32, or"):
        load(config)


def test_all_mistakes_are_told_at_once():
    config = changed("training.epochs", 0)
    config["seeds"] = [1, 1]
    with pytest.raises(ConfigError) as caught:
        load(config)
    assert len(str(caught.value).splitlines()) == 2


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
ANY = st.recursive(
    SCALARS, lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(max_size=5), x, max_size=3)
)
KEYS = [f"{a}.{b}" for a in ("data", "training", "curvature", "jobs") for b in DEFAULT[a]] + list(
    DEFAULT
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(key=st.sampled_from(KEYS), value=ANY.filter(lambda v: v is not None))
def test_any_value_is_either_taken_or_refused_with_its_key(key, value):
    config = changed(key, value)
    try:
        load(config)
    except ConfigError as error:
        # What no longer fits may be told where it is referred to.
        places = ("training.stacked", "geometry", "theory", "controls", "trajectory")
        told = (key.split(".")[0], *places)
        assert all(line.startswith(told) for line in str(error).splitlines())


def test_numbers_in_lists_and_mappings_of_the_command_line_are_numbers():
    # As Snakemake reads --config: text within, numbers alone.
    given = {"a": ["0", "1.5", "ce", "null"], "b": {"c": "true", "d": ["5.0e-4"]}, "e": 3, "f": "x"}
    wanted = {"a": [0, 1.5, "ce", None], "b": {"c": True, "d": [5.0e-4]}, "e": 3, "f": "x"}
    assert as_yaml(given) == wanted
    assert as_yaml("a: b: c") == "a: b: c"


TWICE = {
    "a: 1\nb: 2\na: 3\n": ["a: is there twice, in lines 1 and 3: every key once"],
    "a:\n  - b: 1\n    b: 2\n": ["a[0].b: is there twice, in lines 2 and 3: every key once"],
    '{\n\t"a": {"b": 1,\n\t"b": 2}}': ["a.b: is there twice, in lines 2 and 3: every key once"],
    "a: &x [*x]\nb: *x\nb: 1\n": ["b: is there twice, in lines 2 and 3: every key once"],
}


@pytest.mark.parametrize("text", TWICE)
def test_a_key_that_is_there_twice_is_told_with_its_lines(text):
    with pytest.raises(ConfigError) as caught:
        once(text)
    assert str(caught.value).splitlines() == TWICE[text]


def test_what_is_shipped_has_every_key_once():
    files = [ROOT / "config.yaml", *(ROOT / "config").glob("*.yaml"), ROOT / "workflow/claims.yaml"]
    for file in files:
        assert once(text := file.read_text(encoding="utf-8")) == text
    assert once("") == ""
