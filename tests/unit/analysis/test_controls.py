"""Interventions on one small network."""

import numpy as np
import pytest
import torch
from torch import nn

from focal_curvature.analysis.controls import interventions
from focal_curvature.calibration import score
from focal_curvature.curvature import Settings
from focal_curvature.losses.focal import focal


def measure(model, data, gamma):
    rows = interventions(
        model,
        focal(0),
        data.splits["train"],
        data.splits,
        gamma=gamma,
        factors=[0.5, 4],
        settings=Settings(estimator="pyhessian", tolerance=0.5),
        bins=10,
        seed=0,
    )
    return {(row["control"], row["value"]): row for row in rows}, rows


@pytest.fixture(scope="module")
def measured(model, data):
    return measure(model, data, gamma=2)


@pytest.fixture(scope="module")
def model(data):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    train = data.splits["train"]
    for _ in range(30):
        optimizer.zero_grad()
        focal(2)(net(train.images), train.labels).mean().backward()
        optimizer.step()
    return net.eval()


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.last = nn.LSTM(8, 4, batch_first=True), nn.Linear(4, 10)

    def forward(self, x):
        return self.last(self.layer(x[:, 0])[0][:, -1])


def test_a_network_without_a_gauss_newton_pass_has_all_else(data):
    torch.manual_seed(0)
    rows = measure(Recurrent().eval(), data, gamma=0)[1]
    assert np.isfinite([row["trace"] for row in rows[:2]]).all()
    for row in rows:
        assert not {"trace_gauss_newton", "adaptive_sharpness"} & set(row)
    assert "not applicable" in rows[2]["reason"]


def test_each_control_moves_what_it_should_and_nothing_else(measured):
    found, rows = measured
    before, scaled = rows[0], rows[1]
    assert (before["control"], scaled["control"]) == ("none", "temperature")
    for factor in (0.5, 4):
        after = found["dinh", factor]
        assert after["ece"] == pytest.approx(before["ece"], abs=1e-6)
        assert after["logit_difference"] < 1e-5
        assert abs(after["trace"] / before["trace"] - 1) > 0.05
        assert after["adaptive_sharpness"] == pytest.approx(before["adaptive_sharpness"], rel=1e-4)
        assert after["layers"] == "1 3"
    assert scaled["trace"] != pytest.approx(before["trace"], rel=1e-2)
    assert "trace" not in found["psi", 2]


def test_scores_are_those_of_the_calibration_step(model, measured, data):
    found, rows = measured
    logits = {}
    for name in ("test", "validation"):
        with torch.no_grad():
            logits[name] = model(data.splits[name].images).numpy()
    labels = {name: data.splits[name].labels.numpy() for name in logits}
    expected = score(
        logits["test"], labels["test"], logits["validation"], labels["validation"], 10, gamma=2
    )
    assert rows[0]["ece"] == pytest.approx(expected.before.ece)
    assert rows[1]["value"] == pytest.approx(expected.temperature)
    assert rows[1]["ece"] == pytest.approx(expected.after.ece)
    assert found["psi", 2]["ece"] == pytest.approx(expected.psi.ece)


def test_the_tempered_trace_is_that_of_a_network_with_divided_logits(model, measured, data):
    rows = measured[1]

    class Divided(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = model

        def forward(self, x):
            return self.net(x) / rows[1]["value"]

    _, divided = measure(Divided().eval(), data, gamma=0)
    assert [row["control"] for row in divided] == ["none", "temperature", "dinh", "dinh"]
    assert divided[0]["trace"] == pytest.approx(rows[1]["trace"], rel=1e-4)
    assert divided[1]["value"] == pytest.approx(1, abs=1e-3)


def test_a_network_that_cannot_be_rescaled_has_a_reason(data):
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).eval()
    found, _ = measure(net, data, gamma=0)
    assert found["dinh", 4]["reason"].startswith("not applicable")
    assert np.isfinite(found["none", None]["trace"])


def test_a_hessian_that_is_not_finite_is_a_reason_and_the_rest_is_measured(data):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10)).eval()
    with torch.no_grad():
        net[1].weight.mul_(1e25)
        net[3].weight.mul_(1e-25)
    found, rows = measure(net, data, gamma=2)
    assert [row["control"] for row in rows] == ["none", "temperature", "dinh", "dinh", "psi"]
    assert all("non-finite" in row["reason"] for row in rows[:-1])
    assert np.isfinite([row["ece"] for row in rows]).all()
    assert "reason" not in found["psi", 2]


def test_a_hessian_that_cannot_be_computed_is_a_reason_and_no_end(data):
    class Once(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x**2

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx, slope):
            return 2 * slope * ctx.saved_tensors[0]

    class Layer(nn.Module):
        def forward(self, x):
            return Once.apply(x)

    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10), Layer()).eval()
    _, rows = measure(net, data, gamma=2)
    assert rows[0]["reason"]
    assert "trace" not in rows[0]
    assert rows[0]["ece"] >= 0
    assert "psi" in {row["control"] for row in rows}
