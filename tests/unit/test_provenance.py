import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from focal_curvature import provenance


def test_a_process_asks_git_once_and_its_memory_anew(monkeypatch):
    real, asked, peaks = subprocess.run, [], iter([1.0, 2.0])

    def run(*arguments, **settings):
        asked.append(arguments)
        return real(*arguments, **settings)

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(provenance, "_peak_memory_mb", lambda: next(peaks))
    provenance._constants.cache_clear()
    one = provenance.collect()
    once = len(asked)
    two = provenance.collect()
    assert len(asked) == once > 0
    assert (one.pop("peak_memory_mb"), two.pop("peak_memory_mb")) == (1.0, 2.0)
    assert one == two
    assert one["packages"]["torch"]


def git(folder, *arguments):
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


def test_a_commit_is_dirty_where_sources_differ_and_not_where_figures_do(tmp_path):
    assert provenance.commit(Path("/")) is None
    files = [tmp_path / "paper_figures/a.png", tmp_path / "src/a.py"]
    git(tmp_path, "init")
    for file in files:
        file.parent.mkdir()
        file.write_text("1")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--message", "a")
    figure, source = files
    clean = provenance.commit(source.parent)
    assert len(clean) == 40
    figure.write_text("2")
    assert provenance.commit(source.parent) == clean
    source.write_text("2")
    assert provenance.commit(source.parent) == f"{clean}-dirty"


def test_processors_of_one_name_are_told_apart():
    zen3 = {"vendor_id": "AuthenticAMD", "cpu family": "25", "model": "1", "stepping": "1"}
    assert provenance.processor_id(zen3) == "AuthenticAMD family 25 model 1 stepping 1"
    assert provenance.processor_id(zen3 | {"model": "17"}) != provenance.processor_id(zen3)
    assert provenance.processor_id({}) is None


AVX2 = ["sse4_1", "avx", "avx2"]
SKYLAKE = [*AVX2, "avx512f", "avx512bw", "avx512dq", "avx512vl"]


@pytest.mark.parametrize(
    ("flags", "settings", "isa"),
    [
        (AVX2, {}, "AVX2"),
        (SKYLAKE, {}, "AVX512_CORE"),
        (SKYLAKE, {"ONEDNN_MAX_CPU_ISA": "avx2"}, "AVX2"),
        (AVX2, {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE"}, "AVX2"),
        ([*SKYLAKE, "avx512_vnni", "avx512_bf16"], {}, "AVX512_CORE_BF16"),
        (SKYLAKE, {"DNNL_MAX_CPU_ISA": "SSE41"}, "SSE41"),
        ([], {}, None),
    ],
)
def test_onednn_takes_the_largest_instruction_set_allowed(flags, settings, isa):
    assert provenance.onednn_isa(flags, settings) == isa


@pytest.mark.parametrize("settings", [{}, provenance.PORTABLE_KERNELS], ids=["native", "portable"])
def test_a_record_says_what_torch_and_onednn_use(settings):
    code = (
        "import torch; from focal_curvature import provenance\n"
        "torch.nn.Conv2d(3, 8, 3)(torch.ones(2, 3, 8, 8))\n"
        "print(provenance.collect()['kernels'])"
    )
    names = {*provenance.KERNEL_SETTINGS, "ONEDNN_VERBOSE"}
    environment = {key: value for key, value in os.environ.items() if key not in names}
    source = str(Path(provenance.__file__).parents[1])
    environment |= {"ONEDNN_VERBOSE": "1", "PYTHONPATH": source} | settings
    said = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    ).stdout
    record = ast.literal_eval(said.splitlines()[-1])
    isa = re.search(r"isa:(.*)", said)[1].strip()
    assert record["onednn"].startswith("AVX512") == ("AVX-512" in isa)
    assert record["settings"] == settings
    assert record["mkldnn"] is True
    assert record["blas"]
    if settings:
        assert (record["torch"], record["onednn"], isa) == ("AVX2", "AVX2", "Intel AVX2")


def test_portable_kernels_name_what_numpy_has_beyond_avx2():
    from numpy._core._multiarray_umath import __cpu_dispatch__ as dispatched

    beyond = provenance.PORTABLE_KERNELS["NPY_DISABLE_CPU_FEATURES"].split()
    assert [feature for feature in dispatched if feature != "X86_V3"] == beyond


def test_without_torch_nothing_is_said_of_its_kernels():
    code = "from focal_curvature import provenance; print(provenance.collect()['kernels'])"
    environment = os.environ | {"PYTHONPATH": str(Path(provenance.__file__).parents[1])}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "None\n"
