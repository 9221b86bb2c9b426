"""Every convolution of every registered model against the native kernels, on this processor."""

import subprocess
import sys

import convolutions
import pytest

from focal_curvature import registry
from focal_curvature.kernels import TOLERANCE

# By the file that defines the model, since a process takes seconds to begin.
CASES = {}
for case in convolutions.cases():
    CASES.setdefault(registry.names("models")[case.model].partition(":")[0], []).append(case)


@pytest.mark.parametrize("file", CASES)
def test_forward_and_both_backward_passes_are_the_native_kernels(file):
    by_case = convolutions.in_a_process(CASES[file], {})
    # Of the whole file: a convolution that two cases share is compared once in a process.
    every = [(case, one) for case, found in by_case.items() for one in found["comparisons"]]
    kinds = {comparison["result"] for _, comparison in every}
    none = CASES[file][0].model in ("mlp", "tiny_vit")
    assert kinds >= (set() if none else {"output", "input", "weight"})
    for case, comparison in every:
        assert comparison["error"] <= TOLERANCE, (case, comparison)
        # The kernel whose backward pass overwrites memory.
        pointwise = comparison["weight"][2:] == [1, 1]
        assert not pointwise or max(comparison["stride"]) == 1, (case, comparison)


SHORTCUT = """
import torch
from torch.nn import functional as F
torch.set_num_threads(1)
torch.manual_seed(0)
x, weight = (
    torch.randn(shape).contiguous(memory_format=torch.channels_last).requires_grad_()
    for shape in ((32, 8, 8, 8), (16, 8, 1, 1))
)
def gradient():
    return torch.autograd.grad(F.conv2d(x, weight, stride=2).square().sum(), weight)[0]
for _ in range(200):
    found = gradient()
torch.backends.mkldnn.enabled = False
torch.testing.assert_close(found, gradient(), rtol=1e-4, atol=1e-3)
"""


def test_what_results_before_safe_convolutions_were_made_with():
    """`small_resnet`'s first shortcut on digits, unsafe: 8 channels, AVX-512's block is 16.

    Right on AVX2. Not expected to be on every processor: there, results of this network that were
    made on one like it, before its convolutions were safe, are to be made anew.
    """
    done = subprocess.run([sys.executable, "-c", SHORTCUT], capture_output=True, text=True)
    if done.returncode:
        reason = done.stderr.strip().rpartition("\n")[2] or f"exit status {done.returncode}"
        pytest.xfail(f"oneDNN's gradient of the unsafe shortcut is wrong here: {reason}")
