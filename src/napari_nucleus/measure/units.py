"""Units of length."""

DEFAULT_MPP = 0.25
"""µm per pixel of a 40x scan: taken where an image, a dataset or a recipe says nothing."""
