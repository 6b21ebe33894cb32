"""Native libraries that do not get along, loaded so that they do."""

import os
import sys
from contextlib import suppress


def load_triton() -> None:
    """Import triton, where it is installed, with the LLVM that it brings.

    Triton, a part of PyTorch on Linux, exports its own LLVM. Mesa's OpenGL, which draws napari's
    canvas on AMD GPUs and on virtual screens, has loaded another one for all to see: triton would
    call that, and end the process with a segmentation fault
    (https://github.com/tensorflow/tensorflow/issues/124205 is the same). Called before anything
    that imports ``torch._dynamo``, as torchvision does.
    """
    if sys.platform != "linux":
        return
    flags = sys.getdlopenflags()
    sys.setdlopenflags(flags | os.RTLD_DEEPBIND)
    try:
        with suppress(ImportError):  # PyTorch for the CPU alone has none
            import triton  # noqa: F401
    finally:
        sys.setdlopenflags(flags)
