"""Every field of a value is read from the file, without a line of code for it."""

from __future__ import annotations

from dataclasses import fields

from corral.cluster.build import COMPUTED, KINDS, find_place
from corral.cluster.machine_shapes import Shape
from corral.cluster.shape import find_shape


def is_in_shape(shape: type[Shape] | None, place: tuple[str, ...]) -> bool:
    """Whether a shape has a field at a place."""
    if shape is None or place[0] not in shape.model_fields:
        return False
    return len(place) == 1 or is_in_shape(find_shape(shape.model_fields[place[0]].annotation), place[1:])


def test_every_field_of_a_value_has_its_place_in_the_shape_or_is_computed() -> None:
    lost = [
        f"{kind.__name__}.{field.name}"
        for shape, kind in KINDS.items()
        for field in fields(kind)
        if not is_in_shape(shape, find_place(field)) and f"{kind.__name__}.{field.name}" not in COMPUTED
    ]
    assert lost == []
