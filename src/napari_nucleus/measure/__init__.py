"""Measurements of nuclei: size, shape, stain and outline."""

from napari_nucleus.measure.nuclei import (
    POSITION_COLUMNS,
    measure,
    measure_shapes,
    measurement_columns,
)
from napari_nucleus.measure.runs import LabelRuns, label_runs
from napari_nucleus.measure.units import DEFAULT_MPP

__all__ = [
    "DEFAULT_MPP",
    "POSITION_COLUMNS",
    "LabelRuns",
    "label_runs",
    "measure",
    "measure_shapes",
    "measurement_columns",
]
