"""Segment, correct, retrain and measure nuclei in H&E slides."""
