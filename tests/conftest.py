import pytest
from checkout import Checkout


@pytest.fixture(scope="session")
def checkout_factory(tmp_path_factory):
    return lambda: Checkout(tmp_path_factory.mktemp("checkout"))
