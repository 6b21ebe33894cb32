"""Average checkpoints of one architecture, weight by weight.

    python -m benchmarks.average_weights FILE:SHARE... --out OUT [--types FILE] [--shift TYPE=LOGIT]

Run in the checkout. OUT takes name, types, constants and card from the first file. With --types,
the type branch is that of one file alone, as for a branch that is to be trained on afterwards. With
--shift, the type branch's last bias is moved, to undo a weight that a type had in the loss, by
minus its logarithm.
"""

import argparse
from pathlib import Path

import torch

from napari_nucleus.models.checkpoints import load_checkpoint, save_checkpoint


def main() -> None:
    """Read the command line, average, and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", metavar="FILE:SHARE")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--types", type=Path)
    parser.add_argument("--shift", action="append", default=[], metavar="TYPE=LOGIT")
    arguments = parser.parse_args()
    parts = [
        (file, float(share)) for file, _, share in (f.rpartition(":") for f in arguments.files)
    ]
    models = [load_checkpoint(file) for file, _ in parts]
    states = [model.state_dict() for model in models]
    total = sum(share for _, share in parts)
    mean: dict[str, torch.Tensor] = {}
    for key, first in states[0].items():
        if not first.is_floating_point():
            mean[key] = first
            continue
        terms = [share * state[key] for state, (_, share) in zip(states, parts, strict=True)]
        mean[key] = torch.stack(terms).sum(0) / total
    if arguments.types:
        other = load_checkpoint(arguments.types).state_dict()
        mean |= {key: value for key, value in other.items() if key.startswith("tp.")}
    model = models[0]
    for shift in arguments.shift:
        name, _, logit = shift.partition("=")
        mean["tp.head.bias"][model.types.index(name) + 1] += float(logit)
    model.load_state_dict(mean)
    save_checkpoint(arguments.out, model)


if __name__ == "__main__":
    main()
