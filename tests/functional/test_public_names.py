"""What is public, and what the names that were say."""

import pytest

from rfaconv import functional
from rfaconv.functional import baselines, stages


@pytest.mark.parametrize("name", ["project", "pixel_gate", "ReceptiveField", "patch_moments"])
def test_a_stage_warns_and_is_what_it_was(name):
    with pytest.warns(DeprecationWarning, match=f"functional.{name} is a stage"):
        assert getattr(functional, name) is getattr(stages, name)


def test_gates_of_the_baselines_likewise():
    with pytest.warns(DeprecationWarning, match="no longer public"):
        assert functional.spatial_gate is baselines.spatial_gate


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'projection'"):
        functional.projection  # noqa: B018
