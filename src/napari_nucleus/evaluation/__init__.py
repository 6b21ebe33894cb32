"""Evaluation: a model or predictions against annotated images."""

from napari_nucleus.evaluation.pipeline import evaluate, evaluate_steps

__all__ = [
    "evaluate",
    "evaluate_steps",
]
