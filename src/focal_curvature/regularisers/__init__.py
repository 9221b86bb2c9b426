"""One regulariser per file: a factory of what replaces the plain gradient of a training step.

``factory(**parameters)`` returns a callable

    (model, loss, images (N, C, H, W), labels (N,), reduction, generator, step) -> dict of Tensor

that leaves the gradient of the step in every parameter's ``grad`` (empty before), and returns
detached scalars: ``loss``, the value that was descended on the batch, and whatever else shall be
averaged over an epoch's steps into its row of the history. ``loss`` gives per-sample losses, which
``reduction`` ("mean" or "sum") joins; ``generator`` is the only source of random numbers, seeded by
run and epoch; ``step`` counts from the first step of the run. A method ``stacked`` that does it
for several runs at once, as `TracePenalty.stacked`, is used where seeds are trained as one. Names
listed in a file's ``__all__`` can be used in a configuration.
"""
