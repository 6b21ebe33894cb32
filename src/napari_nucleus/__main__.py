"""``python -m napari_nucleus``, which is what torchrun takes."""

from napari_nucleus.cli import app

if __name__ == "__main__":
    app(prog_name="napari-nucleus")
