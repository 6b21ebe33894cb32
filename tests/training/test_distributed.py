import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import napari_nucleus
from napari_nucleus.training import train
from napari_nucleus.training.distributed import gather, is_leader, start_fabric
from napari_nucleus.training.recipe import load_recipe
from tests.training.tiny import log_of, same

RECIPE = """
model = "tiny"
options = { norm = false }
patch = 48
augment = "none"
np_loss = "asymmetric"
tp_loss = "focal"
warmup = 0
ema = 0.5
epoch = 24
validate_every = 1
[[phases]]
train = "decoder"
epochs = 1
batch = 4
lr = 0.01
[[phases]]
epochs = 1
batch = 2
accumulate = 2
lr = 0.01
"""

PATH = os.pathsep.join((str(Path(__file__).parents[2]), str(Path(*napari_nucleus.__path__).parent)))
"""Where the processes find what is tested here."""

TOLERANCE = 0.03
"""Of a loss, relative: each process averages over its own nuclei, in 16 bits."""


def run(folder: Path, data: Path) -> Path:
    """Train in two processes on this machine, and return the run's folder."""
    recipe, out = folder / "recipe.toml", folder / "run"
    recipe.write_text(RECIPE)
    command = ("torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    script = Path(__file__).with_name("in_processes.py")
    given = (folder, "--data", data, "--config", recipe, "--out", out)
    answer = subprocess.run(
        [sys.executable, "-m", *command, script, *map(str, given)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "PYTHONPATH": PATH},
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.count("on the validation images") == 1
    return out


def losses_of(out: Path) -> np.ndarray:
    return np.array([[float(row[key]) for key in ("np", "hv", "tp")] for row in log_of(out)])


@pytest.mark.slow
def test_two_processes_are_one_with_twice_the_batch(data: Path, tmp_path: Path) -> None:
    out = run(tmp_path, data)
    recipe = load_recipe(tmp_path / "recipe.toml")
    doubled = [replace(phase, batch=2 * phase.batch) for phase in recipe.phases]
    train(replace(recipe, phases=tuple(doubled)), [data], tmp_path / "one", device="cpu")
    train(replace(recipe, phases=tuple(doubled), seed=1), [data], tmp_path / "other", device="cpu")
    found, expected, other = (losses_of(of) for of in (out, tmp_path / "one", tmp_path / "other"))
    assert len(found) == 6
    assert np.all(np.abs(found / expected - 1) < TOLERANCE)
    assert np.any(np.abs(other / expected - 1) > TOLERANCE)
    first, second = (load_file(tmp_path / f"{rank}.safetensors") for rank in (0, 1))
    assert same(first, second)
    state = torch.load(out / "state.pt", weights_only=True)
    assert same(first, state["model"])


def test_one_process_launches_nothing() -> None:
    fabric = start_fabric("cpu")
    assert (fabric.world_size, fabric.global_rank, fabric.device.type) == (1, 0, "cpu")
    assert not torch.distributed.is_initialized()
    assert gather([1, 2]) == [1, 2]


def test_first_process_leads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    assert is_leader()
    monkeypatch.setenv("RANK", "1")
    assert not is_leader()
