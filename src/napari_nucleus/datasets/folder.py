"""The plain dataset folder: images, label images and tables of types."""

from pathlib import Path

from napari_nucleus.errors import UserError

_IMAGES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")


def image_files(folder: Path) -> list[Path]:
    """Return the images of a dataset folder, by name.

    Raises
    ------
    UserError
        If there is none.
    """
    images = folder / "images"
    files = [f for f in sorted(images.glob("*")) if f.suffix.lower() in _IMAGES]
    if not files:
        raise UserError(
            f"{folder} holds no images/<name>.png, .jpg or .tif: name a dataset folder."
        )
    return files
