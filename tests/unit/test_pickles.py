"""No module opens a pickle, which may run what it likes: read off the syntax, not the text."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CODE = [f for folder in ("src", "workflow", "tools") for f in (ROOT / folder).rglob("*.py")]
MODULES = ("pickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve")
OPENERS = ("load", "loads", "open", "Shelf", "Unpickler")
# What reads pickles unless it is told not to.
KEYWORDS = {"numpy.load": ("allow_pickle", False), "torch.load": ("weights_only", True)}


def opened(source):
    """Lines that may open a pickle, but for an Unpickler that says what it takes."""
    tree = ast.parse(source)
    known = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in node.names:
                known[name.asname or name.name.split(".")[0]] = (
                    name.name if name.asname else name.name.split(".")[0]
                )
        elif isinstance(node, ast.ImportFrom):
            known |= {n.asname or n.name: f"{node.module}.{n.name}" for n in node.names}

    def dotted(node):
        if isinstance(node, ast.Attribute):
            return f"{dotted(node.value)}.{node.attr}"
        return known.get(node.id, node.id) if isinstance(node, ast.Name) else ""

    allowed = {
        id(base)
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        and any(
            isinstance(part, ast.FunctionDef) and part.name == "find_class" for part in node.body
        )
        for base in node.bases
    }
    lines = set()
    for node in ast.walk(tree):
        name = dotted(node) if isinstance(node, ast.Attribute | ast.Name) else ""
        module, _, last = name.rpartition(".")
        opener = module.split(".")[0] in MODULES and last in OPENERS
        if (opener and id(node) not in allowed) or name.endswith(".read_pickle"):
            lines.add(node.lineno)
        if isinstance(node, ast.Call):
            given = {k.arg: getattr(k.value, "value", None) for k in node.keywords}
            word, value = KEYWORDS.get(dotted(node.func), (None, None))
            if (word and given.get(word) is not value) or any(
                key in given and given[key] is not safe for key, safe in KEYWORDS.values()
            ):
                lines.add(node.lineno)
    return sorted(lines)


@pytest.mark.parametrize("file", CODE, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_no_module_opens_a_pickle(file):
    assert opened(file.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle\npickle.load(f)",
        "import pickle as p\np.Unpickler(f).load()",
        "from pickle import loads as read\nread(b)",
        "import pickle\nclass Open(pickle.Unpickler):\n    pass",
        "import joblib\njoblib.load(f)",
        "import numpy as np\nnp.load(f)",
        "import numpy as np\nnp.load(f, allow_pickle=flag)",
        "import numpy as np\nnp.lib.format.read_array(f, allow_pickle=True)",
        "import torch\ntorch.load(f)",
        "from torch import load\nload(f, weights_only=False)",
        "import pandas\npandas.read_pickle(f)",
    ],
)
def test_what_opens_one_is_found(source):
    assert opened(source)


@pytest.mark.parametrize(
    "source",
    [
        "import pickle\nclass Safe(pickle.Unpickler):\n    def find_class(self, m, n): ...",
        "import numpy as np\nnp.load(f, allow_pickle=False)",
        "import torch\ntorch.load(f, weights_only=True)",
        "import json\njson.load(f)",
    ],
)
def test_what_opens_none_is_not(source):
    assert not opened(source)
