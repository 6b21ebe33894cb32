"""Find the system libraries that Qt needs; on Debian and Ubuntu, as root, install them.

Runs before the virtual environment exists, so it uses the standard library alone.
"""

import ctypes
import importlib.util
import os
import shutil
import subprocess
import sys

# What Qt's xcb platform loads, and the Debian package that has it.
LIBRARIES = {
    "libEGL.so.1": "libegl1",
    "libGL.so.1": "libgl1",
    "libGLX_mesa.so.0": "libglx-mesa0",
    "libX11-xcb.so.1": "libx11-xcb1",
    "libdbus-1.so.3": "libdbus-1-3",
    "libfontconfig.so.1": "libfontconfig1",
    "libglib-2.0.so.0": "libglib2.0-0",
    "libxcb-cursor.so.0": "libxcb-cursor0",
    "libxcb-icccm.so.4": "libxcb-icccm4",
    "libxcb-image.so.0": "libxcb-image0",
    "libxcb-keysyms.so.1": "libxcb-keysyms1",
    "libxcb-randr.so.0": "libxcb-randr0",
    "libxcb-render-util.so.0": "libxcb-render-util0",
    "libxcb-shape.so.0": "libxcb-shape0",
    "libxcb-xfixes.so.0": "libxcb-xfixes0",
    "libxkbcommon-x11.so.0": "libxkbcommon-x11-0",
}
PROGRAMS = {"xvfb-run": "xvfb", "xauth": "xauth"}


def missing() -> dict[str, str]:
    """Return what this machine lacks: the library, program or module, and its Debian package."""
    lacking = {}
    for library, package in LIBRARIES.items():
        try:
            ctypes.CDLL(library)
        except OSError:
            lacking[library] = package
    lacking |= {name: package for name, package in PROGRAMS.items() if not shutil.which(name)}
    if importlib.util.find_spec("ensurepip") is None:
        lacking["ensurepip"] = f"python3.{sys.version_info.minor}-venv"
    return lacking


def install(packages: list[str]) -> None:
    """Install Debian packages, as root and without questions."""
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for arguments in (["update"], ["install", "-y", "--no-install-recommends", *packages]):
        subprocess.run(["apt-get", "-q", *arguments], env=environment, check=True)


def main() -> None:
    """Install what is missing where that can be done, or say in one line what is missing."""
    if sys.version_info < (3, 11):  # noqa: UP036  any python3 may run this
        found = f"{sys.version_info.major}.{sys.version_info.minor}"
        sys.exit(f"Python 3.11 or newer is needed, this is {found}: make PYTHON=python3.12 …")
    if sys.platform != "linux":
        return
    lacking = missing()
    if lacking and shutil.which("apt-get") and os.geteuid() == 0:
        install(sorted(set(lacking.values())))
        lacking = missing()
    if lacking:
        names = ", ".join(f"{name} ({package})" for name, package in lacking.items())
        print(f"Missing on this machine, with their Debian packages: {names}", file=sys.stderr)


if __name__ == "__main__":
    main()
