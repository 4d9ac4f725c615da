"""What tests of both detectors share."""

import pytest

from fieldwork.inputs import outlining


@pytest.fixture(params=["network", "classical"], scope="module")
def detector(request):
    """Return the name of each detector in turn, which method auto is meanwhile."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outlining, "AUTO", request.param)
        yield request.param
