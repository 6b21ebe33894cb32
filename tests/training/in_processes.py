"""Train the tiny model by the command line, and leave every process's weights beside the run.

Started by torchrun with a folder and the arguments of the command.
"""

import os
import sys
from pathlib import Path

from safetensors.torch import save_file

from napari_nucleus.cli import app
from napari_nucleus.models import registry
from tests.training.tiny import Tiny

if __name__ == "__main__":
    folder, *arguments = sys.argv[1:]
    made: list[Tiny] = []

    def build(types: tuple[str, ...], pretrained: bool = False, norm: bool = True) -> Tiny:
        made.append(Tiny(types, pretrained, norm))
        return made[-1]

    registry.register_model("tiny", build)
    app(["train", *arguments], standalone_mode=False)
    weights = {key: value.contiguous() for key, value in made[0].state_dict().items()}
    save_file(weights, Path(folder) / f"{os.environ['RANK']}.safetensors")
