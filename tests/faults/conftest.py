import pytest


@pytest.fixture(scope="session")
def checkout(checkout_factory):
    return checkout_factory()
