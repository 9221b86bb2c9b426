import importlib.util
import os

import pytest
from checkout import Checkout

# Tests run side by side, each on one core; whoever waits for threads beside other work waits long.
for library in ("OMP", "MKL"):
    os.environ.setdefault(f"{library}_NUM_THREADS", "1")

# A make that a test calls would take itself for a part of `make test`, and print more.
for variable in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS"):
    os.environ.pop(variable, None)

if importlib.util.find_spec("hypothesis"):  # `make gpu-check` does without
    from hypothesis import settings

    # The same examples on every machine, however long each takes there.
    settings.register_profile("repeatable", derandomize=True, deadline=None)
    settings.load_profile("repeatable")


@pytest.fixture(scope="session")
def checkout_factory(tmp_path_factory):
    return lambda: Checkout(tmp_path_factory.mktemp("checkout"))


def pytest_collection_modifyitems(items):
    """Skip what needs a GPU where there is none, with the reason in the summary."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if marked:
        import torch

        if not torch.cuda.is_available():
            for item in marked:
                item.add_marker(pytest.mark.skip(reason="no CUDA device here: make gpu-check"))
