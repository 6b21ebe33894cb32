"""What all tests share."""

import os
from pathlib import Path

import pytest

# Before napari is imported: no test reads or writes the settings of the person who runs it.
os.environ["NAPARI_CONFIG"] = ""

# Before torch is imported: processes that test side by side share the processor.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"


@pytest.fixture(scope="session")
def datasets() -> Path:
    """Return the folder of annotated dataset folders, which do not ship with the project."""
    folder = os.environ.get("NAPARI_NUCLEUS_DATA")
    if not folder:
        pytest.skip("NAPARI_NUCLEUS_DATA names no folder of dataset folders")
    return Path(folder)


@pytest.fixture(scope="session")
def mobile_sam() -> Path:
    """Return the published weights of MobileSAM, which do not ship with the project."""
    file = os.environ.get("NAPARI_NUCLEUS_SAM")
    if not file:
        pytest.skip("NAPARI_NUCLEUS_SAM names no file of MobileSAM's weights")
    return Path(file)
