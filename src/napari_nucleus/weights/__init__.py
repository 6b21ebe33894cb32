"""Weights: which there are, where they are fetched, and the files that ship."""
