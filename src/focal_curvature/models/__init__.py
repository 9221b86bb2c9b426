"""One model family per file: factories that return an ``nn.Module``.

``factory(classes, channels, size, **arguments)`` builds a classifier of images of shape
(channels, size, size). Names listed in a file's ``__all__`` can be used in a configuration.
"""
