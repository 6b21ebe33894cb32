"""µm/px of metadata as vendors and programs write them; the truth is known by construction."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from napari_nucleus.errors import UserError
from napari_nucleus.slides import check_mpp, open_slide, slide_from_arrays

PIXELS = np.zeros((30, 40, 3), np.uint8)

_OME = (
    '<?xml version="1.0" encoding="UTF-8"?>'
    '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0" '
    'Name="{name}"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint8" SizeX="40" '
    'SizeY="30" SizeC="3" SizeZ="1" SizeT="1" Interleaved="true" {sizes}>'
    '<Channel ID="Channel:0:0" SamplesPerPixel="3"/><TiffData IFD="0" PlaneCount="1"/></Pixels>'
    "</Image></OME>"
)


def stored(path: Path, description: str, **options: Any) -> Path:
    text = description.encode()
    tifffile.imwrite(path, PIXELS, photometric="rgb", metadata=None, description=text, **options)
    return path


def ome(path: Path, x: str, y: str, unit: str = "", name: str = "tissue") -> Path:
    sides = {"X": x, "Y": y}
    sizes = [f'PhysicalSize{axis}="{side}"' for axis, side in sides.items()]
    sizes += [f'PhysicalSize{axis}Unit="{unit}"' for axis in sides if unit]
    return stored(path, _OME.format(name=name, sizes=" ".join(sizes)))


def philips(*images: tuple[str, str]) -> str:
    """Return a description of images of a type, with their spacings."""
    objects = "".join(
        f'<DataObject ObjectType="DPScannedImage"><Attribute Name="PIM_DP_IMAGE_TYPE" '
        f'PMSVR="IString">{image_type}</Attribute>'
        f'<Attribute Name="DICOM_PIXEL_SPACING" PMSVR="IDoubleArray">{spacing}</Attribute>'
        "</DataObject>"
        for image_type, spacing in images
    )
    return (
        '<?xml version="1.0" encoding="UTF-8" ?><DataObject ObjectType="DPUfsImport">'
        '<Attribute Name="DICOM_MANUFACTURER" PMSVR="IString">PHILIPS</Attribute>'
        f'<Attribute Name="PIM_DP_SCANNED_IMAGES"><Array>{objects}</Array></Attribute></DataObject>'
    )


LIBVIPS = (
    '<?xml version="1.0"?><image xmlns="http://www.vips.ecs.soton.ac.uk//dzsave/2.0"><properties>'
    "<property><name>openslide.mpp-x</name><value type='VipsRefString'>0.2528</value></property>"
    "<property><name>openslide.mpp-y</name><value type='VipsRefString'>0.2528</value></property>"
    "</properties></image>"
)


@pytest.mark.parametrize(
    ("description", "mpp"),
    [
        ("Aperio Image Library v11.2.1\n40x30|AppMag = 40|MPP = 0.2520|Left = 1", 0.252),
        ("Aperio Leica Biosystems GT450 v1.0\n40x30|MPP = 0,2631", 0.2631),
        ("scanned by hand|mpp=0.5", 0.5),
        ('{"shape": [30, 40, 3], "mpp": 0.5}', 0.5),
        ("mpp_x: 0.5, mpp_y: 0.5", 0.5),
        ("microns per pixel = .5", 0.5),
        ("Aperio|MPP = 250", None),
        ("Aperio|MPP = unknown", None),
        ('<iScan Magnification="40" ScanRes="0.2325"/>', 0.2325),
        (LIBVIPS, 0.2528),
        (LIBVIPS[:-20], None),
        (philips(("WSI", "&quot;0.00025&quot; &quot;0.00025&quot;")), 0.25),
        (
            philips(
                ("MACROIMAGE", "&quot;0.0001&quot; &quot;0.0001&quot;"),
                ("WSI", "&quot;0.0005&quot; &quot;0.0005&quot;"),
                ("WSI", "&quot;0.001&quot; &quot;0.001&quot;"),
            ),
            0.5,
        ),
        (philips(("WSI", "")), None),
        (philips(("WSI", "&quot;0.0005&quot; &quot;0.0005&quot;"))[:-9], None),
    ],
)
def test_descriptions(tmp_path: Path, description: str, mpp: float | None) -> None:
    slide = open_slide(stored(tmp_path / "a.tif", description))
    assert slide.mpp == (mpp if mpp is None else pytest.approx(mpp))
    assert slide.shape == (30, 40)


@pytest.mark.parametrize(
    ("size", "unit"),
    [
        ("0.5", ""),
        ("0,5", "µm"),
        ("5E-1", "\N{GREEK SMALL LETTER MU}m"),
        ("500", "nm"),
        ("5000", "\N{ANGSTROM SIGN}"),
        ("5000", "Å"),
        ("500000", "pm"),
        ("0.0005", "mm"),
        ("0.00005", "cm"),
        ("0.0000005", "m"),
        ("1.968503937e-5", "in"),
        ("0.01968503937", "thou"),
        ("0.5", "micrometer"),
        ("0.5", "Micrometres"),
        ("500", "nanometre"),
        ("0.5", "microns"),
    ],
)
def test_units_of_length(tmp_path: Path, size: str, unit: str) -> None:
    assert open_slide(ome(tmp_path / "a.ome.tif", size, size, unit)).mpp == pytest.approx(0.5)


@pytest.mark.parametrize("unit", ["micrometer", "micrometre", "Micrometers", "MICRON", "um"])
def test_units_of_imagej(tmp_path: Path, unit: str) -> None:
    tifffile.imwrite(
        tmp_path / "a.tif", PIXELS, imagej=True, resolution=(2, 2), metadata={"unit": unit}
    )
    assert open_slide(tmp_path / "a.tif").mpp == pytest.approx(0.5)


@pytest.mark.parametrize("size", ["", "NaN", "much", "0", "-0.5", "INF"])
def test_metadata_that_cannot_be_parsed_cost_the_size_only(tmp_path: Path, size: str) -> None:
    slide = open_slide(ome(tmp_path / "a.ome.tif", size, size))
    assert (slide.mpp, slide.shape) == (None, (30, 40))


def test_xml_that_is_not_well_formed(tmp_path: Path) -> None:
    """What other tags say is used then."""
    path = ome(tmp_path / "a.ome.tif", "0.5", "0.5", name="H & E")
    assert open_slide(path).shape == (30, 40)
    assert open_slide(path, mpp=0.5).mpp == 0.5
    text = _OME.format(name="H & E", sizes="")
    stored(path, text, resolution=(20000, 20000), resolutionunit="CENTIMETER")
    assert open_slide(path).mpp == pytest.approx(0.5)


@pytest.mark.parametrize(
    "description",
    [
        _OME.format(name="a", sizes="").replace('DimensionOrder="XYCZT"', ""),
        _OME.format(name="a", sizes="").replace('SizeX="40"', 'SizeX="many"'),
        '<?xml version="1.0"?><scn xmlns="http://www.leica-microsystems.com/scn/">leica</x></scn>',
        '{"shape": "x"}',
        "ImageJ=1.11a\nimages=foo\nchannels=x\nunit=um\n",
    ],
    ids=["no order", "no number", "scn", "shaped", "imagej"],
)
def test_metadata_that_tifffile_cannot_read(tmp_path: Path, description: str) -> None:
    options = {"resolution": (20000, 20000), "resolutionunit": "CENTIMETER"}
    slide = open_slide(stored(tmp_path / "a.tif", description, **options))
    assert (slide.shape, slide.mpp) == ((30, 40), pytest.approx(0.5))


def test_pixels_that_are_not_square_are_named(tmp_path: Path) -> None:
    slide = open_slide(ome(tmp_path / "a.ome.tif", "0.50", "0.52"))
    assert slide.mpp is None
    with pytest.raises(
        UserError, match=r"a are not square \(0\.5 x 0\.52 µm\): resample .*or set its"
    ):
        slide.require_mpp()
    stored(tmp_path / "b.tif", "", resolution=(40000, 20000), resolutionunit="CENTIMETER")
    with pytest.raises(UserError, match=r"not square \(0\.25 x 0\.5 µm\)"):
        open_slide(tmp_path / "b.tif").require_mpp()
    assert open_slide(tmp_path / "b.tif", mpp=0.25).require_mpp() == 0.25
    with pytest.raises(UserError, match=r"The µm/px of layer is unknown: set it"):
        slide_from_arrays([PIXELS], name="layer").require_mpp()


@pytest.mark.parametrize(
    ("mpp", "message"),
    [
        (250, r"250 µm/px is not a plausible pixel size \(for 250 nm, give 0\.25\): give a value"),
        (0.00025, r"0\.00025 µm/px .* \(for 0\.00025 mm, give 0\.25\)"),
        (0, "0 µm/px is not a plausible pixel size: give a value from 0.05 to 10, about 0.25 for"),
        (-0.25, "-0.25 µm/px"),
        (float("nan"), "nan µm/px"),
    ],
)
def test_what_a_user_gives_is_checked(tmp_path: Path, mpp: float, message: str) -> None:
    tifffile.imwrite(tmp_path / "a.tif", PIXELS, photometric="rgb")
    with pytest.raises(UserError, match=message) as caught:
        check_mpp(mpp)
    for read in (
        lambda: open_slide(tmp_path / "a.tif", mpp=mpp),
        lambda: slide_from_arrays([PIXELS], mpp=mpp),
    ):
        with pytest.raises(UserError) as other:
            read()
        assert str(other.value) == str(caught.value)
