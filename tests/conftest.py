"""What all tests share: hypothesis without a clock, since a busy machine is not a failure; charts that are checked."""

from importlib.util import find_spec

import pytest
from hypothesis import settings

settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")


@pytest.fixture(autouse=True, scope="session")
def charts_are_checked():
    """Pages show their charts unchecked, for speed; here every one is held against the schema of Vega-Lite."""
    if not find_spec("altair"):
        yield
        return
    from apps.charts import Layers

    with pytest.MonkeyPatch.context() as patch:
        patch.delattr(Layers, "to_dict")
        yield
