"""One regulariser per file: a factory of what replaces the plain gradient of a training step.

``factory(**parameters)`` returns a callable

    (networks, loss, images (N, S, ...), labels (S, N), reduction, generators, step) -> dict

for S runs that are trained as one, S being 1 for a run alone. ``networks(images)`` gives their
logits (S, N, K) and ``networks.model`` owns their parameters, of each of which a run has a block
along the first dimension: see `focal_curvature.stack.Stack`. It leaves the gradient of the
step in every parameter's ``grad`` (empty before), and returns detached tensors (S,): ``loss``, the
value that was descended on the batch, and whatever else shall be averaged over an epoch's steps
into a row of the run's history. ``loss`` gives per-sample losses, which ``reduction`` ("mean" or
"sum") joins; ``generators``, one per run, are the only source of random numbers, seeded by run and
epoch; ``step`` counts from the first step of the run. Names listed in a file's ``__all__`` can be
used in a configuration.
"""
