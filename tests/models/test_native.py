import subprocess
import sys

import pytest

OPENGL_THEN_NETWORKS = """
from qtpy.QtGui import QOffscreenSurface, QOpenGLContext
from qtpy.QtWidgets import QApplication

app = QApplication([])
surface = QOffscreenSurface()
surface.create()
context = QOpenGLContext()
context.create()
context.makeCurrent(surface)
import napari_nucleus.models
"""


@pytest.mark.slow
def test_networks_load_after_opengl() -> None:
    """Mesa's OpenGL and triton each have their LLVM; mixed up, they end the process."""
    answer = subprocess.run(
        [sys.executable, "-c", OPENGL_THEN_NETWORKS], capture_output=True, text=True
    )
    assert answer.returncode == 0, answer.stderr
