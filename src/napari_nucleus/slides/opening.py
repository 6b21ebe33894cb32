"""Opening: which backend reads a file, by its content."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from napari_nucleus.errors import UserError
from napari_nucleus.files import visible_files
from napari_nucleus.slides.color import SRGB
from napari_nucleus.slides.ome_zarr import METADATA, is_ome_zarr, read_ome_zarr
from napari_nucleus.slides.pictures import PNG, read_picture
from napari_nucleus.slides.pyramid import with_coarser
from napari_nucleus.slides.slide import Slide
from napari_nucleus.slides.stored import StoredImage, choose_scene
from napari_nucleus.slides.tiff import read_tiff

Backend = Callable[[Path, int | str | None], StoredImage]

_TIFF = b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"
_JPEG = b"\xff\xd8\xff"
_MIRAX = ".mrxs"  # a JPEG, beside a folder

# TIFF files whose tiles overlap or lie in several images; OpenSlide knows where.
_OPENSLIDE_FIRST = "leica", "philips", "trestle", "ventana"
_OPENSLIDE_LAST = "aperio", "hamamatsu", "unknown"


def open_slide(
    path: str | Path,
    mpp: float | None = None,
    scene: int | str | None = None,
    srgb: bool = False,
) -> Slide:
    """Open an image file as a slide.

    Parameters
    ----------
    path : str or Path
        Image of one of the formats in ``docs/formats.md``, recognised by content, not by suffix;
        the folder of an OME-Zarr image or of DICOM files, or any file of a DICOM series. PNG and
        JPEG are decoded into memory, the others are read piece by piece when needed.
    mpp : float or None
        µm per pixel; None takes it from the file.
    scene : int or str or None
        Name or number, from 0, of one of several images in the file (`Slide.scenes`); None takes
        the largest one, or the whole slide where they are regions of one.
    srgb : bool
        Convert the colours to sRGB by the ICC profile in the file. Models are trained without that.

    Returns
    -------
    Slide
        With the stored levels, and computed ones down to a small one.

    Raises
    ------
    UserError
        If the file does not exist, is not an image, is damaged or too large for memory, or has
        pixels that are not RGB and cannot be converted to it for certain; if there is no such
        scene; if `mpp` is not plausible.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from PIL import Image
    >>> with TemporaryDirectory() as folder:
    ...     file = Path(folder) / "tissue.png"
    ...     Image.new("RGB", (400, 300), "white").save(file)
    ...     slide = open_slide(file, mpp=0.25)
    >>> slide.name, slide.shape, slide.mpp
    ('tissue', (300, 400), 0.25)
    >>> slide.read(x=0, y=0, width=64, height=32).shape
    (32, 64, 3)
    """
    path = Path(path)
    if path.name in METADATA and path.is_file():
        path = path.parent
    try:
        stored = _stored(path, scene)
    except MemoryError as error:
        raise UserError(
            f"{path.name} does not fit into memory: save it as a tiled, pyramidal TIFF"
        ) from error
    if mpp is None and stored.size is not None:
        mpp = stored.size.mpp
    levels, white = stored.levels, stored.white
    profile = stored.profile if srgb else None
    if profile is not None:
        conversion = SRGB(profile, path.name)
        levels, white = conversion.levels(levels), conversion.color(white)
    pyramid, overview = with_coarser(levels)
    return Slide(
        " ".join(filter(None, (_stem(path), stored.scenes.other))),
        path,
        mpp,
        pyramid,
        stored.size,
        white,
        overview,
        stored.scenes,
        stored.profile,
        profile is not None,
        stored.fingerprint,
    )


def is_slide_folder(path: Path) -> bool:
    """Tell whether a folder is one image: OME-Zarr, or nothing but DICOM files of one slide.

    Parameters
    ----------
    path : Path
        The folder.
    """
    from napari_nucleus.slides.dicom import dicom_series, is_dicom

    if not path.is_dir() or is_ome_zarr(path):
        return path.is_dir()
    files = visible_files(path, "*")
    return bool(files) and all(map(is_dicom, files)) and len(dicom_series(path)) == 1


def slides_in(folder: Path) -> list[Path]:
    """Return what a folder has besides parts of slides.

    Parameters
    ----------
    folder : Path
        The folder. Folders in it are not searched.

    Returns
    -------
    list of Path
        Files, of a DICOM series that of the largest level, and folders that are one image, by name.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    from napari_nucleus.slides.dicom import dicom_series

    parts = {file for one in dicom_series(folder) for file in one.files if file != one.largest}
    found = (one for one in sorted(folder.iterdir()) if one.is_file() or is_slide_folder(one))
    return [one for one in found if one not in parts]


def _stored(path: Path, scene: int | str | None) -> StoredImage:
    """Read an image by the first backend that can."""
    failures = []
    for name, read in _backends(path):
        try:
            return read(path, scene)
        except (UserError, MemoryError):  # it is understood, and no other backend does better
            raise
        except Exception as error:  # of any kind, for damaged files
            reason = " ".join(str(error).split()) or type(error).__name__
            failures.append((f"{name}: {reason}", error))
    if not failures:
        raise UserError(
            f"{path.name} is not PNG, JPEG, TIFF, OME-Zarr or DICOM, nor another slide that "
            "OpenSlide reads: convert it to one of them"
        )
    reasons = "; ".join(reason for reason, _ in failures)
    raise UserError(
        f"{path.name} is damaged, truncated or not supported ({reasons}): copy or export it again"
    ) from failures[0][1]


def _backends(path: Path) -> Iterator[tuple[str, Backend]]:
    """Yield what may read a file, the best one first, with its name."""
    if not path.exists():
        raise UserError(f"{path} does not exist: check the name")
    if path.is_dir():
        if is_ome_zarr(path):
            yield "zarr", read_ome_zarr
        else:
            yield "DICOM", _read_dicom_folder
        return
    magic = _magic(path)
    if magic.startswith(PNG) or (magic.startswith(_JPEG) and path.suffix.lower() != _MIRAX):
        yield "Pillow", read_picture
        return
    from napari_nucleus.slides.by_openslide import read_slide, vendor

    known = vendor(path)
    if path.suffix.lower() == _MIRAX and not path.with_suffix("").is_dir():
        raise UserError(
            f"{path.name} is a part of a slide: put the folder {path.stem}, which has the rest, "
            "beside it"
        )
    if magic.startswith(_TIFF):
        if known in _OPENSLIDE_FIRST:
            yield "OpenSlide", read_slide
        yield "tifffile", read_tiff
        if known in _OPENSLIDE_LAST:
            yield "OpenSlide", read_slide
        return
    if known is not None:
        yield "OpenSlide", read_slide
    if magic[128:] == b"DICM":
        from napari_nucleus.slides.dicom import read_dicom

        yield "pydicom", read_dicom


def _read_dicom_folder(path: Path, scene: int | str | None) -> StoredImage:
    """Read one of the DICOM slides in a folder."""
    from napari_nucleus.slides.dicom import dicom_series

    series = dicom_series(path)
    if not series:
        raise UserError(f"{path} is a folder: choose an image in it")
    largest = max(range(len(series)), key=lambda number: series[number].pixels)
    scenes = choose_scene(path.name, [one.name for one in series], scene, largest)
    stored = _stored(series[scenes.chosen].largest, None)
    return replace(stored, scenes=scenes)


def _magic(path: Path) -> bytes:
    """Return the first bytes of a file."""
    try:
        with path.open("rb") as file:
            magic = file.read(132)
    except OSError as error:
        raise UserError(
            f"{path} cannot be opened ({error.strerror}): check its permissions"
        ) from error
    if not magic:
        raise UserError(f"{path.name} is empty (0 bytes): copy or export it again")
    return magic


def _stem(path: Path) -> str:
    """Return the name without its suffix; the numbers of DICOM and most folders have none."""
    if path.suffix[1:].isdecimal() or (path.is_dir() and path.suffix.lower() != ".zarr"):
        return path.absolute().name
    return path.stem.removesuffix(".ome")
