"""The closer look: spectra, losses around the weights, the two estimators side by side."""

import numpy as np
import pytest
import torch

from focal_curvature.curvature import Settings, geometry
from focal_curvature.curvature.problem import Problem
from focal_curvature.losses.focal import focal


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.Tanh(), torch.nn.Linear(6, 3))


@pytest.fixture(scope="module")
def samples():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(40, 4, generator=generator), torch.arange(40) % 3


@pytest.fixture(scope="module")
def problems(net, samples):
    losses = {"objective": focal(2), "cross_entropy": focal(0)}
    return {
        name: Problem.of(net, loss, samples, dtype=torch.float64) for name, loss in losses.items()
    }


def exact_hessian(problem):
    theta = torch.cat([p.flatten() for p in problem.parameters])

    def mean_loss(theta):
        logits = problem.outputs(problem.split(theta), problem.samples.inputs)
        return problem.loss(logits, problem.samples.targets).mean()

    return torch.autograd.functional.hessian(mean_loss, theta)


def test_spectrum_of_full_length_has_the_exact_extremes(problems):
    problem = problems["objective"]
    rows = geometry.spectrum(problem, seed=0, probes=2, steps=problem.size)
    exact = torch.linalg.eigvalsh(exact_hessian(problem)).numpy()
    for probe in (0, 1):
        nodes = [row for row in rows if row["probe"] == probe and row["weight"] > 1e-9]
        assert sum(row["weight"] for row in nodes) == pytest.approx(1)
        found = sorted(row["eigenvalue"] for row in nodes)
        assert (found[0], found[-1]) == pytest.approx((exact[0], exact[-1]), rel=1e-6)


def test_lines_meet_at_the_weights_and_bend_as_the_hessian_says(problems):
    lines, plane = geometry.surroundings(
        problems, seed=0, tolerance=1e-2, reach=3e-3, resolution=3, surface=True
    )
    for name, problem in problems.items():
        hessian = exact_hessian(problem)
        logits = problem.outputs(problem.parameters, problem.samples.inputs)
        here = problem.loss(logits, problem.samples.targets).mean().item()
        for direction in ("top eigenvector", "random"):
            _, _, below, middle, above, _, _ = (
                row["loss"]
                for row in lines
                if row["hessian_of"] == name and row["direction"] == direction
            )
            assert middle == pytest.approx(here, rel=1e-9)
            bend = (above - 2 * middle + below) / 1e-6
            if name == "objective" and direction == "top eigenvector":
                weights = [p for p in problem.parameters if p.ndim > 1]
                length = torch.cat([w.flatten() for w in weights]).norm().item()
                top = torch.linalg.eigvalsh(hessian)[-1].item()
                assert bend == pytest.approx(top * length**2, rel=1e-2)
        centre = [r["loss"] for r in plane if r["hessian_of"] == name and r["x"] == r["y"] == 0]
        assert centre == [pytest.approx(here, rel=1e-9)]
    assert len(plane) == 2 * 9
    assert (
        geometry.surroundings(
            problems, seed=0, tolerance=1e-2, reach=1, resolution=3, surface=False
        )[1]
        == []
    )


def test_a_closer_look_takes_the_settings_dtype_and_check(net, samples, problems, monkeypatch):
    checks = []
    real = geometry.Operator.on.__func__

    def on(cls, problem, *rest, check=True):
        checks.append(check)
        return real(cls, problem, *rest, check=check)

    monkeypatch.setattr(geometry.Operator, "on", classmethod(on))
    how = Settings(estimator="engine", tolerance=1e-9, dtype="float64", check=False, probes=2)
    size = {"probes": 2, "steps": 5, "reach": 0.1, "resolution": 3, "surface": True}
    found = geometry.look(net, {"objective": focal(2)}, *samples, how, 0, **size)
    assert not any(checks)
    one = {"objective": problems["objective"]}
    lines, plane = geometry.surroundings(
        one, 0, tolerance=1e-9, reach=0.1, resolution=3, surface=True
    )
    assert (found["lines"], found["plane"]) == (lines, plane)
    rows = geometry.spectrum(problems["objective"], 0, probes=2, steps=5)
    assert found["spectrum"] == [{"hessian_of": "objective"} | row for row in rows]


def test_both_estimators_agree_with_the_exact_hessian(net, samples, problems):
    how = Settings(probes=200, tolerance=1e-3, dtype="float64")
    row = geometry.compare(net, focal(2), *samples, how, seed=0)
    hessian = exact_hessian(problems["objective"])
    top, trace = torch.linalg.eigvalsh(hessian)[-1].item(), hessian.trace().item()
    for name in ("pyhessian", "engine"):
        assert row[f"{name}_top_eigenvalue"] == pytest.approx(top, rel=1e-2)
        slack = 3 * row[f"{name}_trace_stderr"] + 1e-6 * abs(trace)
        assert abs(row[f"{name}_trace"] - trace) < slack
        assert row[f"{name}_seconds"] > 0
    assert np.isfinite(row["trace_difference_in_stderr"])


def test_a_hessian_that_is_not_finite_leaves_what_needs_none(caplog):
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.ReLU(), torch.nn.Linear(6, 3))
    with torch.no_grad():
        net[0].weight.mul_(1e25)
        net[2].weight.mul_(1e-25)
    samples = torch.randn(20, 4), torch.arange(20) % 3
    problem = Problem.of(net, focal(0), samples)
    assert geometry.spectrum(problem, seed=0, probes=2, steps=3) == []
    lines, plane = geometry.surroundings(
        {"objective": problem}, seed=0, tolerance=1e-2, reach=0.1, resolution=3, surface=True
    )
    assert {row["direction"] for row in lines} == {"random"}
    assert len(plane) == 9
    row = geometry.compare(net, focal(0), *samples, Settings(probes=2), seed=0)
    assert np.isnan([row["pyhessian_trace"], row["engine_top_eigenvalue"]]).all()
    assert np.isnan(row["trace_difference_in_stderr"])
    assert row["engine_seconds"] > 0
    assert caplog.text.count("non-finite") == 4
