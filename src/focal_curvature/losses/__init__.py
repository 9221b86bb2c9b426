"""One loss per file: a factory that returns a module giving per-sample losses.

``factory(**parameters)`` returns an ``nn.Module`` whose ``forward(logits (N, K), labels (N,))``
gives losses of shape (N,). The caller takes the mean. Names listed in a file's ``__all__`` can be
used in a configuration.
"""
