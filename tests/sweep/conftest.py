import pytest

from jaxae import sweep
from tests.runs import plan_of


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Six members, in one wave, one after the other."""
    return sweep.sweep(plan_of(), tmp_path_factory.mktemp("sweep") / "s")
