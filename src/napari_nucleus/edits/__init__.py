"""Corrections by hand: what was changed, undone and seen, kept in a result folder's journal."""

from napari_nucleus.edits.reviewed import reviewed_regions

__all__ = ["reviewed_regions"]
