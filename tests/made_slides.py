"""Small slides in formats of scanners, whose pixels and µm/px are known."""

import io
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import zarr
from numpy.typing import NDArray
from PIL import Image, ImageCms
from pydicom import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    ExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    VLWholeSlideMicroscopyImageStorage,
    generate_uid,
)

Pixels = NDArray[np.uint8]


def smooth(height: int, width: int, seed: int = 0) -> Pixels:
    """Return colours that change slowly, as JPEG keeps them."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def halved(image: Pixels) -> Pixels:
    return np.asarray(Image.fromarray(image).reduce(2))


def jpeg(image: Pixels) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "jpeg", quality=95, subsampling=0)
    return file.getvalue()


def tiles(image: Pixels, side: int) -> Iterator[Pixels]:
    """Yield squares row by row, white beyond the image."""
    height, width, _ = image.shape
    for y in range(0, height, side):
        for x in range(0, width, side):
            tile = np.full((side, side, 3), 255, np.uint8)
            part = image[y : y + side, x : x + side]
            tile[: part.shape[0], : part.shape[1]] = part
            yield tile


def scanner_profile() -> bytes:
    """Return an ICC profile of RGB with the primaries of sRGB in other places."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, blue = profile.index(b"rXYZ"), profile.index(b"bXYZ")
    profile[red : red + 4], profile[blue : blue + 4] = b"bXYZ", b"rXYZ"
    return bytes(profile)


def write_mrxs(path: Path, levels: Sequence[Pixels], mpp: float, holes: Sequence[int] = ()) -> Path:
    """Write what 3DHISTECH writes: a JPEG, and a folder of its name with an index and tiles.

    `levels` halve, their sides are multiples of 256; the tiles at `holes` of all were not scanned.
    """
    side, slide_id = 256, "5" * 32
    folder = path.with_suffix("")
    folder.mkdir()
    header = f"01.02{slide_id}".encode()
    columns = levels[0].shape[1] // side
    data, pages, starts = bytearray(header), bytearray(), []
    first_page = len(header) + 8 + 4 * (len(levels) + 1)
    for number, level in enumerate(levels):
        records = []
        wide = level.shape[1] // side
        for tile_number, tile in enumerate(tiles(level, side)):
            y, x = divmod(tile_number, wide)
            place = (y * columns + x) << number
            if place not in holes:
                encoded = jpeg(tile)
                records.append((place, len(data), len(encoded), 0))
                data += encoded
        starts.append(first_page + len(pages))
        pages += struct.pack("<4i", 0, starts[-1] + 8, len(records), 0)
        pages += b"".join(struct.pack("<4i", *record) for record in records)
    roots = len(header) + 8, len(header) + 8 + 4 * len(levels)
    index = header + struct.pack(f"<{3 + len(levels)}i", *roots, *starts, 0) + pages
    (folder / "Index.dat").write_bytes(index)
    (folder / "Data0000.dat").write_bytes(data)
    lines = [
        "[GENERAL]",
        "SLIDE_VERSION=01.02",
        f"SLIDE_ID={slide_id}",
        f"IMAGENUMBER_X={columns}",
        f"IMAGENUMBER_Y={levels[0].shape[0] // side}",
        "OBJECTIVE_MAGNIFICATION=20",
        "CameraImageDivisionsPerSide=1",
        "[HIERARCHICAL]",
        "INDEXFILE=Index.dat",
        "HIER_COUNT=1",
        "NONHIER_COUNT=0",
        "HIER_0_NAME=Slide zoom level",
        f"HIER_0_COUNT={len(levels)}",
        *(f"HIER_0_VAL_{number}_SECTION=LEVEL_{number}" for number in range(len(levels))),
        "[DATAFILE]",
        "FILE_COUNT=1",
        "FILE_0=Data0000.dat",
    ]
    for number in range(len(levels)):
        lines += [
            f"[LEVEL_{number}]",
            "OVERLAP_X=0",
            "OVERLAP_Y=0",
            f"MICROMETER_PER_PIXEL_X={mpp * 2**number}",
            f"MICROMETER_PER_PIXEL_Y={mpp * 2**number}",
            "IMAGE_FORMAT=JPEG",
            "IMAGE_FILL_COLOR_BGR=16777215",
            f"DIGITIZER_WIDTH={side}",
            f"DIGITIZER_HEIGHT={side}",
            f"IMAGE_CONCAT_FACTOR={int(number > 0)}",
        ]
    (folder / "Slidedat.ini").write_text("\n".join(lines) + "\n")
    path.write_bytes(jpeg(levels[-1][::8, ::8]))
    return path


def write_dicom(
    folder: Path,
    levels: Sequence[Pixels],
    mpp: float,
    name: str = "slide",
    compressed: bool = True,
    profile: bytes = b"",
) -> list[Path]:
    """Write a series of whole-slide images, a file for every level, and return the files."""
    side, series = 128, generate_uid()
    files = []
    for number, level in enumerate(levels):
        factor = levels[0].shape[1] / level.shape[1]
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = (
            JPEGBaseline8Bit if compressed else ExplicitVRLittleEndian
        )
        dataset.SOPClassUID = VLWholeSlideMicroscopyImageStorage
        dataset.SOPInstanceUID = generate_uid()
        dataset.SeriesInstanceUID, dataset.SeriesDescription = series, name
        dataset.Modality = "SM"
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "RESAMPLED" if number else "NONE"]
        dataset.DimensionOrganizationType = "TILED_FULL"
        dataset.TotalPixelMatrixRows, dataset.TotalPixelMatrixColumns = level.shape[:2]
        dataset.TotalPixelMatrixFocalPlanes = dataset.NumberOfOpticalPaths = 1
        dataset.Rows = dataset.Columns = side
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 3, "RGB"
        dataset.PlanarConfiguration = dataset.PixelRepresentation = 0
        dataset.BitsAllocated = dataset.BitsStored = 8
        dataset.HighBit = 7
        if compressed:
            dataset.PhotometricInterpretation = "YBR_FULL_422"
        measures, groups, path = Dataset(), Dataset(), Dataset()
        measures.PixelSpacing = [mpp * factor / 1000] * 2
        groups.PixelMeasuresSequence = [measures]
        dataset.SharedFunctionalGroupsSequence = [groups]
        if profile:
            path.ICCProfile = profile
        dataset.OpticalPathSequence = [path]
        frames = list(tiles(level, side))
        dataset.NumberOfFrames = len(frames)
        if compressed:
            dataset.PixelData = encapsulate([jpeg(frame) for frame in frames])
        else:
            dataset.PixelData = b"".join(frame.tobytes() for frame in frames)
        files.append(folder / f"{name}-{number}.dcm")
        dataset.save_as(files[-1], enforce_file_format=True)
    return files


def write_ome_zarr(
    path: Path,
    levels: Sequence[NDArray[Any]],
    version: str = "0.5",
    axes: str = "tczyx",
    scale: float = 0.25,
    unit: str | None = "micrometer",
    name: str = "tissue",
    channels: Sequence[str] = (),
) -> Path:
    """Write an OME-Zarr image of levels (Y, X, C) or (Y, X), as its specification says."""
    group = zarr.open_group(path, mode="w", zarr_format=2 if version == "0.4" else 3)
    datasets = []
    for number, level in enumerate(levels):
        order = "yxc"[: level.ndim]
        kept = [axis for axis in axes if axis in order]
        data = level.transpose([order.index(axis) for axis in kept])
        shape = [level.shape[order.index(axis)] if axis in order else 1 for axis in axes]
        chunks = tuple(300 if axis in "yx" else 1 for axis in axes)
        array = group.create_array(str(number), shape=shape, chunks=chunks, dtype=data.dtype)
        array[:] = data.reshape(shape)
        factors = [scale * 2**number if axis in "yx" else 1 for axis in axes]
        datasets.append(
            {
                "path": str(number),
                "coordinateTransformations": [{"type": "scale", "scale": factors}],
            }
        )
    types = {"t": "time", "c": "channel"}
    described: list[dict[str, str]] = [
        {"name": axis, "type": types.get(axis, "space")}
        | ({"unit": unit} if unit and axis in "yx" else {})
        for axis in axes
    ]
    multiscales = [{"name": name, "axes": described, "datasets": datasets}]
    metadata: dict[str, Any] = {"multiscales": multiscales}
    if channels:
        metadata["omero"] = {"channels": [{"color": color} for color in channels]}
    if version == "0.4":
        metadata["multiscales"][0]["version"] = version
        group.attrs.update(metadata)
    else:
        group.attrs["ome"] = {"version": version, **metadata}
    return path


def write_trestle(path: Path, image: Pixels, mpp: float) -> Path:
    """Write what Trestle's MedMicro writes: a tiled TIFF whose resolution is the µm/px."""
    with tifffile.TiffWriter(path) as tif:
        tif.write(
            image,
            tile=(256, 256),
            photometric="rgb",
            compression="jpeg",
            subsampling=(1, 1),
            software="MedScan 4.0",
            description="Background Color=FFFFFF;OverlapsXY= 0 0;Objective Power=20",
            resolution=(mpp, mpp),
            metadata=None,
        )
    return path


def write_philips(path: Path, levels: Sequence[Pixels], mpp: float) -> Path:
    """Write what Philips writes: a tiled TIFF with its metadata in XML, which has the spacings."""
    spacings = "".join(
        '<DataObject ObjectType="PixelDataRepresentation"><Attribute Name="DICOM_PIXEL_SPACING" '
        f'PMSVR="IDoubleArray">"{mpp * 2**level / 1000}" "{mpp * 2**level / 1000}"</Attribute>'
        "</DataObject>"
        for level in range(len(levels))
    )
    description = (
        '<?xml version="1.0" encoding="UTF-8" ?><DataObject ObjectType="DPUfsImport">'
        '<Attribute Name="DICOM_MANUFACTURER" PMSVR="IString">PHILIPS</Attribute>'
        '<Attribute Name="PIM_DP_SCANNED_IMAGES" PMSVR="IDataObjectArray"><Array>'
        '<DataObject ObjectType="DPScannedImage">'
        '<Attribute Name="PIM_DP_IMAGE_TYPE" PMSVR="IString">WSI</Attribute>'
        f'<Attribute Name="DICOM_PIXEL_SPACING" PMSVR="IDoubleArray">"{mpp / 1000}" '
        f'"{mpp / 1000}"</Attribute><Attribute Name="PIIM_PIXEL_DATA_REPRESENTATION_SEQUENCE" '
        'PMSVR="IDataObjectArray">'
        f"<Array>{spacings}</Array></Attribute></DataObject></Array></Attribute></DataObject>"
    )
    with tifffile.TiffWriter(path) as tif:
        for number, level in enumerate(levels):
            tif.write(
                level,
                tile=(256, 256),
                photometric="rgb",
                compression="jpeg",
                subsampling=(1, 1),
                subfiletype=0 if number == 0 else 1,
                software="Philips DP v1.0",
                description=f"level={number}" if number else description,
                metadata=None,
            )
    return path


def write_scn(path: Path, images: Sequence[Pixels], mpp: float) -> Path:
    """Write what Leica writes: a macro image of the slide, and regions, here with glass between.

    Each has as much glass on its right as it is wide.
    """
    nm = round(1000 * mpp)
    wide = sum(2 * image.shape[1] for image in images) * nm
    high = 2 * max(image.shape[0] for image in images) * nm
    macro = np.full((256, 256, 3), 255, np.uint8)
    described, left = _scn_image(0, macro, (wide, high), 0), 0
    for number, image in enumerate(images, 1):
        view = image.shape[1] * nm, image.shape[0] * nm
        described += _scn_image(number, image, view, left)
        left += 2 * view[0]
    description = (
        '<?xml version="1.0"?><scn xmlns="http://www.leica-microsystems.com/scn/2010/10/01">'
        f'<collection name="x" sizeX="{wide}" sizeY="{high}">{described}</collection></scn>'
    )
    with tifffile.TiffWriter(path, bigtiff=True) as tif:
        for number, image in enumerate([macro, *images]):
            tif.write(
                image,
                tile=(256, 256),
                photometric="rgb",
                compression="jpeg",
                subsampling=(1, 1),
                description=None if number else description,
                resolution=(10_000 / mpp, 10_000 / mpp),
                resolutionunit="CENTIMETER",
                metadata=None,
            )
    return path


def _scn_image(number: int, image: Pixels, view: tuple[int, int], left: int) -> str:
    """Return the description of a directory, and where it lies on the slide in nm."""
    height, width, _ = image.shape
    return (
        f'<image name="image_{number}"><device model="Leica SCN400" version="1"/>'
        f'<pixels sizeX="{width}" sizeY="{height}"><dimension sizeX="{width}" sizeY="{height}" '
        f'r="0" ifd="{number}"/></pixels><view sizeX="{view[0]}" sizeY="{view[1]}" '
        f'offsetX="{left}" offsetY="0" spacingZ="0"/><scanSettings><objectiveSettings>'
        "<objective>20</objective></objectiveSettings><illuminationSettings>"
        "<numericalAperture>0.4</numericalAperture><illuminationSource>brightfield"
        "</illuminationSource></illuminationSettings></scanSettings></image>"
    )
