"""Corrections on disk: what was changed, undone and reviewed, as it is made."""
