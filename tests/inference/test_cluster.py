"""Clusters that cannot be used: one line each, before anything is written."""

import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile
from distributed import Client, LocalCluster

from napari_nucleus.errors import UserError
from napari_nucleus.inference import cluster, segment
from napari_nucleus.slides import slide_from_arrays
from tests.tissue import Decoder, tiled, tissue

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_ANSWER", 2)
    monkeypatch.setattr(cluster, "_WORKER", 1)
    cluster._opened.cache_clear()


@pytest.fixture
def image(tmp_path: Path) -> Path:
    file = tmp_path / "slide.tif"
    pixels = tissue(120, 120, 3).coded()
    tifffile.imwrite(
        file, pixels, photometric="rgb", resolution=(40_000, 40_000), resolutionunit="CENTIMETER"
    )
    return file


@pytest.fixture
def worker() -> Iterator[str]:
    """Run a scheduler and a worker in this process, and return the address."""
    with scheduler(1) as running:
        yield running.scheduler_address


def scheduler(workers: int) -> LocalCluster:
    return LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        processes=False,
        dashboard_address="127.0.0.1:0",
        silence_logs=logging.CRITICAL,
    )


def refusal(image: Path, address: str) -> str:
    with pytest.raises(UserError) as refused:
        segment(image, image.with_suffix(".nucleus"), Decoder(), scheduler=address)
    assert [file.name for file in image.parent.iterdir()] == [image.name]
    message = str(refused.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "no such host", "foo://host:1"])
def test_no_scheduler_answers(image: Path, address: str) -> None:
    assert refusal(image, address) == (
        f"The scheduler {address} does not answer: check its address, such as tcp://host:8786."
    )


@pytest.mark.parametrize("address", ["local:0", "local:", "local:-1", "local:two"])
def test_no_workers_to_start(image: Path, address: str) -> None:
    line = refusal(image, address)
    assert line == f"{address} starts no workers: say how many, such as local:2."


def test_scheduler_without_workers(image: Path) -> None:
    with scheduler(0) as running:
        address = running.scheduler_address
        assert refusal(image, address).startswith(f"The scheduler {address} has no workers: start")


def test_image_that_is_not_a_file(tmp_path: Path) -> None:
    layer = slide_from_arrays([np.zeros((64, 64, 3), np.uint8)], 0.25, "layer")
    with pytest.raises(UserError, match="layer is not a file, which other machines could read"):
        segment(layer, tmp_path / "layer.nucleus", Decoder(), scheduler="local:2")
    assert not list(tmp_path.iterdir())


def test_worker_that_cannot_read_the_image(
    image: Path, worker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def elsewhere(path: Path, *_: object) -> None:
        raise UserError(f"{path} does not exist: check the name")

    monkeypatch.setattr(cluster, "open_slide", elsewhere)
    line = refusal(image, worker)
    assert line.startswith("The worker inproc://")
    assert line.endswith(
        f"{image} does not exist: check the name; workers must find the image under the same path"
    )


def test_worker_that_reads_another_image(
    image: Path,
    worker: str,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As after a change of the file, which it has opened before."""
    real = cluster.open_slide
    other = tmp_path_factory.mktemp("other") / "slide.tif"
    tifffile.imwrite(other, tissue(120, 120, 4).coded(), photometric="rgb")
    monkeypatch.setattr(cluster, "open_slide", lambda path, *given: real(other, *given))
    assert refusal(image, worker).endswith(
        f"{image} is another image there: workers must find the same under the same path."
    )


def test_worker_of_another_version(
    image: Path, worker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = iter(["2.0", "1.0"])  # the client's, the worker's
    monkeypatch.setattr(cluster, "version", lambda name: next(versions))
    assert refusal(image, worker).endswith(
        "napari-nucleus is 1.0 there, and 2.0 here: install the same."
    )


def test_worker_without_the_device(image: Path, worker: str) -> None:
    with pytest.raises(UserError, match=r"The worker inproc://.* 'cuda:9' cannot be used here"):
        segment(image, image.with_suffix(".nucleus"), Decoder(), scheduler=worker, device="cuda:9")


def test_workers_on_this_machine_outlive_ctrl_c() -> None:
    """The console sends it to them, too, and a command that is stopped waits for a last tile."""
    with (
        cluster.started("local:1") as address,
        Client(address, set_as_default=False) as client,
    ):
        worker = client.submit(os.getpid).result(timeout=60)
        os.kill(worker, signal.SIGINT)
        assert client.submit(os.getpid, pure=False).result(timeout=60) == worker


def test_tiles_of_a_worker_are_those_of_this_machine(image: Path, worker: str) -> None:
    here = segment(image, image.with_name("here.nucleus"), tiled(Decoder(), 64, 32), device="cpu")
    there = segment(
        image, image.with_name("there.nucleus"), tiled(Decoder(), 64, 32), scheduler=worker
    )
    assert here.table().equals(there.table())
    assert np.array_equal(here.read_labels(0, 0, 120, 120), there.read_labels(0, 0, 120, 120))
