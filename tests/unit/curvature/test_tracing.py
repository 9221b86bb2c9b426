"""Recorded graphs give what the function gives."""

import pytest
import torch
from torch.func import grad, jvp
from torch.nn import functional as F

from focal_curvature.curvature.tracing import record

REGRESSION = ["mse_loss", "smooth_l1_loss", "l1_loss"]


@pytest.mark.parametrize("name", REGRESSION)
def test_a_second_derivative_with_a_constant_target_is_recorded(name):
    """mse_loss's crashed the interpreter: its tangent is a tensor of no storage."""
    target = torch.randn(5, 3, dtype=torch.float64)

    def product(w, x, v):
        def loss(w):
            return getattr(F, name)((x @ w).double(), target, reduction="none").sum()

        return jvp(grad(loss), (w,), (v,))[1]

    arguments = torch.randn(4, 3), torch.randn(5, 4), torch.randn(4, 3)
    root, graph = record(product, arguments)
    replayed = torch.fx.GraphModule(root, graph)(*arguments)
    torch.testing.assert_close(replayed, product(*arguments))
