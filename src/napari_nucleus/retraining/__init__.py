"""Fine-tuning on reviewed regions, within minutes.

The settings and runs are here; `loop` trains, with torch.
"""

from napari_nucleus.retraining.config import EPOCHS, LEARNING_RATES, Retraining, parse_types
from napari_nucleus.retraining.runs import interrupted_run, new_run, read_job, use_model

__all__ = [
    "EPOCHS",
    "LEARNING_RATES",
    "Retraining",
    "interrupted_run",
    "new_run",
    "parse_types",
    "read_job",
    "use_model",
]
