"""One model family per file: factories that return an ``nn.Module``.

``factory(classes, channels, size, **arguments)`` builds a classifier of images of shape
(channels, size, size), where size 1 stands for vectors of so many channels. Names listed in a
file's ``__all__`` can be used in a configuration; its ``ABOUT`` says, by name, what smallest
side in pixels they take, where that is not 1.
"""
