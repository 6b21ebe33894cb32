"""The command line: every job without a window."""

from napari_nucleus.cli import (
    classify,
    evaluate,
    export,
    models,
    retrain,
    segment,
    teach,
    train,
)
from napari_nucleus.cli.app import app

for _command in (segment, export, teach, classify, evaluate, train, retrain, models):
    _command.register(app)

__all__ = ["app"]
