"""The curvature of a model of mine: the same network trained with two losses, compared.

    python examples/own_model.py

Needs the package (`pip install .`, or PYTHONPATH=src where it is not installed) and its core alone:
torch and numpy.
"""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from focal_curvature import curvature, focal

torch.manual_seed(0)
# Two classes on the arms of a spiral, a tenth of the labels wrong.
turn = torch.rand(400) * 6
labels = torch.randint(2, (400,))
angle = turn + torch.pi * labels
points = torch.stack([turn * angle.cos(), turn * angle.sin()], 1) / 3 + 0.05 * torch.randn(400, 2)
labels = torch.where(torch.rand(400) < 0.1, 1 - labels, labels)
loader = DataLoader(TensorDataset(points, labels), batch_size=100)

for name, loss in (("cross-entropy", nn.CrossEntropyLoss()), ("focal, gamma 2", focal(2.0))):
    torch.manual_seed(1)
    model = nn.Sequential(
        nn.Linear(2, 32), nn.GELU(), nn.Linear(32, 32), nn.GELU(), nn.Linear(32, 2)
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(60):
        for inputs, targets in loader:
            optimizer.zero_grad()
            loss(model(inputs), targets).mean().backward()
            optimizer.step()

    result = curvature(model.eval(), loader, loss="cross_entropy", k=2)
    print(f"trained with {name}")
    print(result)
    density = result.density(probes=2, steps=20)
    share = (density.weights * (density.nodes > 0.1 * result.top_eigenvalue.estimate)).sum(1).mean()
    print(f"share of eigenvalues above a tenth of the largest: {share:.1%}\n")
