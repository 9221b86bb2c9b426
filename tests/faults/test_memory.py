"""Curvature in half the chunk when memory ends. The end of memory is injected here; a real one
under a limit is in test_training, where no chunk is small enough."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from focal_curvature.curvature import Settings, geometry, memory, tracking
from focal_curvature.losses.focal import focal

ENDS = {
    "cuda": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    "cpu": RuntimeError(
        "DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"
    ),
    "cublas": RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"),
    "python": MemoryError(),
    "import": SystemError("error return without exception set"),
}


@pytest.fixture
def problem():
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 6), nn.ReLU(), nn.Linear(6, 3)).double()
    return model, focal(2.0), torch.randn(40, 1, 4, 4).double(), torch.arange(40) % 3


def limited(monkeypatch, most, error):
    """Let every estimate with a larger chunk run out of memory."""
    real, tried = memory.estimate, []

    def estimate(model, loss, inputs, labels, settings, seed):
        tried.append(settings.chunk)
        if settings.chunk > most:
            raise error
        return real(model, loss, inputs, labels, settings, seed)

    monkeypatch.setattr(memory, "estimate", estimate)
    return tried


@pytest.mark.parametrize("error", ENDS.values(), ids=ENDS)
@pytest.mark.parametrize("estimator", ["pyhessian", "engine"])
def test_the_chunk_is_halved_and_the_result_is_the_same(problem, monkeypatch, estimator, error):
    precise = {"dtype": "float64", "probes": 4, "max_iterations": 30, "tolerance": 1e-4}
    settings = Settings(estimator=estimator, **precise)
    plain, used = memory.estimate_within_memory(*problem, settings, 0)
    assert used.chunk == 1024
    tried = limited(monkeypatch, 7, error)
    short, used = memory.estimate_within_memory(*problem, settings, 0)
    assert tried == [1024, 20, 10, 5]
    assert used == replace(settings, chunk=5)
    assert short.top_eigenvalue.estimate == pytest.approx(plain.top_eigenvalue.estimate, rel=1e-6)
    assert short.trace.estimate == pytest.approx(plain.trace.estimate, rel=1e-6)


def test_it_ends_with_one_sample_and_a_remedy(problem, monkeypatch):
    tried = limited(monkeypatch, 0, ENDS["cuda"])
    with pytest.raises(MemoryError, match=r"curvature\.samples"):
        memory.estimate_within_memory(*problem, Settings(chunk=8), 0)
    assert tried == [8, 4, 2, 1]


def test_other_errors_pass(problem, monkeypatch):
    limited(monkeypatch, 0, RuntimeError("expected scalar type Float"))
    with pytest.raises(RuntimeError, match="scalar type"):
        memory.estimate_within_memory(*problem, Settings(), 0)


def test_curvature_along_training_goes_on_in_half_the_chunk(problem, monkeypatch):
    model, loss, *samples = problem
    tried = limited(monkeypatch, 20, ENDS["cuda"])
    found = tracking.sharpness(model, {"objective": loss}, *samples, Settings(probes=4), 0)
    assert tried == [1024, 20]
    assert found["trace_objective"] > 0


def test_traces_during_training_go_on_in_half_the_chunk(problem, monkeypatch):
    plain = tracking.traces(*problem, 0)
    real, tried = tracking.gauss_newton_trace, []

    def gauss_newton_trace(problem, generator, **limits):
        tried.append(problem.chunk)
        if problem.chunk > 20:
            raise ENDS["cuda"]
        return real(problem, generator, **limits)

    monkeypatch.setattr(tracking, "gauss_newton_trace", gauss_newton_trace)
    assert tracking.traces(*problem, 0) == pytest.approx(plain)
    assert tried == [1024, 20]


def test_a_closer_look_goes_on_in_half_the_chunk(problem, monkeypatch):
    model, loss, *samples = problem
    losses = dict.fromkeys(["objective", "cross_entropy"], loss)
    real, tried = geometry.compare, []

    def compare(model, loss, inputs, labels, settings, seed):
        tried.append(settings.chunk)
        if settings.chunk > 20:
            raise ENDS["cuda"]
        return real(model, loss, inputs, labels, settings, seed)

    monkeypatch.setattr(geometry, "compare", compare)
    wanted = {"probes": 2, "steps": 3, "reach": 0.1, "resolution": 3, "surface": True}
    settings = Settings(batch=64, chunk=64, probes=2)
    found = geometry.look(model, losses, *samples, settings, 0, **wanted)
    assert tried == [64, 20]
    assert {name: len(rows) for name, rows in found.items()} == {
        "spectrum": 2 * 2 * 3,
        "lines": 2 * 2 * 7,
        "plane": 2 * 9,
        "estimators": 1,
    }
