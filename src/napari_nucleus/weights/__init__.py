"""Weights: shipped and own files, and downloads."""
