"""Every text is opened as UTF-8: the locale's encoding is another one on some machines."""

import ast
import re

import pytest
from checkout import ROOT

FOLDERS = ("src", "workflow", "tools", "benchmarks")
FILES = [file for folder in FOLDERS for file in sorted((ROOT / folder).rglob("*.py"))]
# Of these modules, `open` takes or returns bytes, or is no file at all.
BINARY = {"gzip", "bz2", "lzma", "zipfile", "tarfile", "Image", "os", "archive", "webbrowser"}


def opens_text(call):
    """Whether a call opens, reads or writes text, or has a process's output decoded."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if name in ("read_text", "write_text"):
        return True
    keywords = {keyword.arg: keyword.value for keyword in call.keywords}
    if name in ("run", "Popen", "check_output"):
        return bool({"text", "universal_newlines"} & keywords.keys())
    if name not in ("open", "fdopen", "NamedTemporaryFile", "FileHandler"):
        return False
    if isinstance(call.func, ast.Attribute) and name == "open":
        if getattr(call.func.value, "id", "") in BINARY:
            return False
        modes = call.args[:1]
    else:
        modes = call.args[1:2]
    mode = keywords.get("mode", modes[0] if modes else None)
    default = "w+b" if name == "NamedTemporaryFile" else "r"
    return "b" not in (mode.value if isinstance(mode, ast.Constant) else default)


def without_encoding(source):
    """Return the lines of a Python source at which text is opened in the locale's encoding."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return [
        call.lineno
        for call in calls
        if opens_text(call) and "encoding" not in {keyword.arg for keyword in call.keywords}
    ]


@pytest.mark.parametrize(
    "call",
    [
        *("path.read_text()", "path.write_text(text)", "open(path)", "open(path, 'w')"),
        *("path.open()", "path.open('a')", "path.open(newline='')", "os.fdopen(handle, 'w')"),
        *("subprocess.run(command, text=True)", "logging.FileHandler(path)"),
    ],
)
def test_calls_that_depend_on_the_locale_are_known(call):
    assert without_encoding(call) == [1]
    assert not without_encoding(f"{call[:-1]}, encoding='utf-8')".replace("(,", "("))


@pytest.mark.parametrize("call", ["path.open('rb')", "gzip.open(path)", "subprocess.run(command)"])
def test_calls_on_bytes_are_none(call):
    assert not without_encoding(call)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_no_module_opens_text_in_the_locales_encoding(file):
    assert not without_encoding(file.read_text(encoding="utf-8"))


@pytest.mark.parametrize("file", sorted(ROOT.glob("workflow/**/*.smk")), ids=lambda f: f.name)
def test_no_rule_does(file):
    calls = re.findall(r"\bopen\((?:[^()]|\([^()]*\))*\)", file.read_text(encoding="utf-8"))
    assert not [call for call in calls if "encoding=" not in call]
