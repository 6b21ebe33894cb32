"""Corrections by hand: what a user does to the nuclei of a result."""
