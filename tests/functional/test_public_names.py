"""What is public, and what the names that were say."""

import pytest

from rfaconv import functional
from rfaconv.functional import baselines, batch_norm, field, pixel, projection

STAGES = {
    "ReceptiveField": field,
    "patch_moments": batch_norm,
    "pixel_gate": pixel,
    "project": projection,
}


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_warns_and_is_what_it_was(name):
    with pytest.warns(DeprecationWarning, match=f"functional.{name} is a stage"):
        assert getattr(functional, name) is getattr(STAGES[name], name)


def test_gates_of_the_baselines_likewise():
    with pytest.warns(DeprecationWarning, match="no longer public"):
        assert functional.spatial_gate is baselines.spatial_gate


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'projections'"):
        functional.projections  # noqa: B018
