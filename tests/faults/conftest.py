"""The copies of the repository in which tests/workflow runs Snakemake, and what to do to them."""

import importlib.util
from pathlib import Path

import pytest

_file = Path(__file__).parents[1] / "workflow/conftest.py"
_spec = importlib.util.spec_from_file_location("workflow_conftest", _file)
_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)

checkout_factory = _module.checkout_factory


@pytest.fixture(scope="session")
def checkout(checkout_factory):
    return checkout_factory()
