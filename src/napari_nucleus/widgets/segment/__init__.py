"""The widget *Segment nuclei*."""

from napari_nucleus.widgets.segment.widget import SegmentWidget

__all__ = ["SegmentWidget"]
