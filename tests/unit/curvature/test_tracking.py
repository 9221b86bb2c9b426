import math

import pytest
import torch
from torch import nn

from focal_curvature.curvature import Settings, estimate
from focal_curvature.curvature.tracking import sharpness, traces
from focal_curvature.losses.focal import focal


@pytest.fixture
def problem():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3))
    return model, torch.randn(20, 3), torch.arange(20) % 3


def test_traces_are_the_engines(problem):
    model, inputs, labels = problem
    found = traces(model, focal(0), inputs, labels, 0)
    exact = estimate(
        model, focal(0), inputs, labels, Settings(estimator="engine", relative_error=1e-3), 1
    )
    assert found["trace_gauss_newton"] == pytest.approx(exact.gauss_newton.trace.estimate, rel=1e-5)
    assert found["trace_hessian"] == pytest.approx(
        exact.trace.estimate, abs=4 * max(exact.trace.stderr, 0.01 * exact.trace.estimate)
    )
    assert found["trace_hessian"] != found["trace_gauss_newton"]


def test_each_loss_has_its_own_sharpness_and_a_shared_one_is_measured_once(problem):
    losses = {"objective": focal(2), "cross_entropy": focal(0)}
    found = sharpness(problem[0], losses, *problem[1:], Settings(), 0)
    for name, loss in losses.items():
        expected = estimate(problem[0], loss, *problem[1:], Settings(estimator="engine"), 0)
        assert found[f"trace_{name}"] == pytest.approx(expected.trace.estimate, rel=0.1)
        assert found[f"top_eigenvalue_{name}"] == pytest.approx(
            expected.top_eigenvalue.estimate, rel=0.05
        )
        assert found[f"top_eigenvalue_{name}_converged"]
        assert found[f"top_eigenvalue_gauss_newton_{name}"] > 0
        assert found[f"top_eigenvalue_gauss_newton_{name}"] <= found[f"trace_gauss_newton_{name}"]
    hasty = Settings(max_iterations=1, tolerance=1e-9)
    found = sharpness(problem[0], losses, *problem[1:], hasty, 0)
    assert found["top_eigenvalue_objective_converged"] is False
    shared = dict.fromkeys(losses, focal(0))
    found = sharpness(problem[0], shared, *problem[1:], Settings(), 0)
    assert found["trace_objective"] == found["trace_cross_entropy"]


def test_derivatives_that_overflow_are_reported(problem):
    _, inputs, labels = problem
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 3))
    with torch.no_grad():
        model[0].weight.mul_(1e25)
        model[2].weight.mul_(1e-25)
    assert model(inputs).isfinite().all()
    found = traces(model, focal(0), inputs, labels, 0)
    found |= sharpness(model, {"objective": focal(0)}, inputs, labels, Settings(), 0)
    assert not any(math.isfinite(value) for value in found.values())
