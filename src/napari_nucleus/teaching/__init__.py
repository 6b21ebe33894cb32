"""Classes taught by examples: features of nuclei, a classifier, and which nucleus to ask about."""

from napari_nucleus.teaching.classifier_file import load_classes, save_classes
from napari_nucleus.teaching.pipeline import classify, classify_steps, teach, teach_steps

__all__ = ["classify", "classify_steps", "load_classes", "save_classes", "teach", "teach_steps"]
