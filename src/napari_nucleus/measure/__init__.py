"""Measurements of nuclei: size, shape, stain and outline."""

from napari_nucleus.measure.nuclei import (
    POSITION_COLUMNS,
    measure,
    measure_shapes,
    measurement_columns,
)

__all__ = [
    "POSITION_COLUMNS",
    "measure",
    "measure_shapes",
    "measurement_columns",
]
