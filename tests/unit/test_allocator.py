"""Counted in processes of their own: the setting is the process's, and cannot be undone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

COUNT = """
import resource, sys, torch
from focal_curvature.allocator import keep_freed_memory
if sys.argv[1] == "kept":
    assert keep_freed_memory()
for step in range(20):
    torch.ones(2**24)  # 64 MB
    if step == 9:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(mode):
    command = [sys.executable, "-c", COUNT, mode]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    return int(subprocess.check_output(command, env=environment))


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's setting")
def test_memory_that_was_freed_is_used_again_without_page_faults():
    assert faults("kept") < faults("as it is") / 100
