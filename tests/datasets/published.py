"""Small datasets in the forms in which they are published, and what is in them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.io
import tifffile
from PIL import Image

SIZE = (24, 32)

# Three nuclei (x0, y0, x1, y1): two that touch, and one at the edge of the image.
BOXES = ((3, 2, 11, 9), (11, 4, 18, 12), (25, 15, 32, 24))


@dataclass(frozen=True)
class Truth:
    """What an image of a dataset is to be read as.

    Attributes
    ----------
    name, part
        Of the sample.
    file
        The annotation, which a test may spoil.
    classes
        Own class of each nucleus of `BOXES`, empty where it has none.
    seed
        Of the pixels.
    """

    name: str
    part: str
    file: Path
    seed: int
    classes: tuple[str, ...] = ("", "", "")
    doubtful: tuple[int, ...] = ()
    ignored: np.ndarray | None = None
    labels: np.ndarray = field(default_factory=lambda: boxes())

    @property
    def image(self) -> np.ndarray:
        return pixels(self.seed)


def pixels(seed: int) -> np.ndarray:
    """Noise, which no two images share."""
    return np.random.default_rng(seed).integers(0, 256, (*SIZE, 3), np.uint8)


def boxes(nuclei: Sequence[tuple[int, int, int, int]] = BOXES) -> np.ndarray:
    """Nuclei with the numbers 1, 2, …"""
    labels = np.zeros(SIZE, np.int32)
    for number, (x0, y0, x1, y1) in enumerate(nuclei, 1):
        labels[y0:y1, x0:x1] = number
    return labels


def area(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    """Pixels of one box."""
    return boxes([(x0, y0, x1, y1)]) > 0


def save(file: Path, array: np.ndarray) -> Path:
    """Write an image or a label image, losslessly."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == ".png":
        Image.fromarray(array).save(file)
    else:
        tifffile.imwrite(file, array)
    return file


def save_text(file: Path, text: str) -> Path:
    """Write a text file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


def save_npy(file: Path, array: np.ndarray) -> Path:
    """Write a NumPy file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    np.save(file, array)
    return file


def save_mat(file: Path, **arrays: object) -> Path:
    """Write a MATLAB file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(file, arrays)
    return file


def corners(box: tuple[int, int, int, int]) -> list[tuple[int, int]]:
    """Outline of a box."""
    x0, y0, x1, y1 = box
    return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]


def image_scope(layers: Mapping[str, Sequence[tuple[int, int, int, int]]]) -> str:
    """Annotation of Aperio ImageScope: layers of regions of vertices."""
    text = '<?xml version="1.0"?>\n<Annotations MicronsPerPixel="0.252000">'
    for number, (name, nuclei) in enumerate(layers.items(), 1):
        text += (
            f'<Annotation Id="{number}" Name="" ReadOnly="0" Type="4"><Attributes>'
            f'<Attribute Name="{name}" Id="0" Value=""/></Attributes>'
            '<Regions><RegionAttributeHeaders><AttributeHeader Id="9999" Name="Region"/>'
            "</RegionAttributeHeaders>"
        )
        for region, box in enumerate(nuclei, 1):
            text += f'<Region Id="{region}" Type="0"><Attributes/><Vertices>'
            text += "".join(f'<Vertex X="{x}.0" Y="{y}.0" Z="0"/>' for x, y in corners(box))
            text += "</Vertices></Region>"
        text += "</Regions><Plots/></Annotation>"
    return text + "</Annotations>"


def consep(root: Path) -> list[Truth]:
    truths = []
    classes = ("other", "dysplastic", "muscle")
    numbers = {"other": 1, "dysplastic": 4, "muscle": 6}
    for seed, (part, name) in enumerate([("Train", "train_1"), ("Test", "test_1")]):
        labels = boxes()
        kinds = np.array([0, *(numbers[c] for c in classes)])
        save(root / part / "Images" / f"{name}.png", pixels(seed))
        save(root / part / "Overlay" / f"{name}.png", pixels(100))
        file = save_mat(
            root / part / "Labels" / f"{name}.mat",
            inst_map=labels.astype(float),
            type_map=kinds[labels].astype(float),
            inst_type=kinds[1:, None].astype(float),
            inst_centroid=np.zeros((3, 2)),
        )
        own = ("other", "malignant_epithelial", "muscle")
        truths.append(Truth(name, part.lower(), file, seed, own))
    save_text(root / "__MACOSX" / "Train" / "Labels" / "._train_1.mat", "")
    return truths


def hovernet(root: Path, part: str, name: str, seed: int, suffix: str = ".png") -> Path:
    """Write an image as HoVer-Net's authors hand sets without classes out; return its labels."""
    save(root / part / "Images" / f"{name}{suffix}", pixels(seed))
    save(root / part / "Overlay" / f"{name}.png", pixels(100))
    return save_mat(root / part / "Labels" / f"{name}.mat", inst_map=boxes().astype(np.int32) * 7)


def cpm15(root: Path) -> list[Truth]:
    names = ("image_00", "image_01")
    return [Truth(n, "", hovernet(root, "", n, seed), seed) for seed, n in enumerate(names)]


def cpm17(root: Path) -> list[Truth]:
    return [
        Truth(f"{part}_image_00", part, hovernet(root, part, "image_00", seed), seed)
        for seed, part in enumerate(("train", "test"))
    ]


KUMAR = (
    ("TCGA-18-5592-01Z-00-DX1", "train"),
    ("TCGA-49-4488-01Z-00-DX1", "test_same"),
    ("TCGA-G2-A2EK-01A-02-TSB", "test_diff"),
)


def kumar(root: Path) -> list[Truth]:
    truths = []
    for seed, (name, part) in enumerate(KUMAR):
        save(root / "Tissue Images" / f"{name}.tif", pixels(seed))
        text = image_scope({"Description": BOXES})
        file = save_text(root / "Annotations" / f"{name}.xml", text)
        truths.append(Truth(name, part, file, seed))
    return truths


def kumar_mat(root: Path) -> list[Truth]:
    return [
        Truth(name, part, hovernet(root, part, name, seed, ".tif"), seed)
        for seed, (name, part) in enumerate(KUMAR)
    ]


def monuseg(root: Path) -> list[Truth]:
    text = image_scope({"Description": BOXES})
    training, test = root / "MoNuSeg 2018 Training Data", root / "MoNuSegTestData"
    names = ("TCGA-18-5592-01Z-00-DX1", "TCGA-UZ-A9PN-01Z-00-DX1", "TCGA-2Z-A9J9-01A-01-TS1")
    truths = []
    for seed, name in enumerate(names[:2]):
        save(training / "Tissue Images" / f"{name}.tif", pixels(seed))
        file = save_text(training / "Annotations" / f"{name}.xml", text)
        truths.append(Truth(name, "train", file, seed))
    save(test / f"{names[2]}.tif", pixels(2))
    return [*truths, Truth(names[2], "test", save_text(test / f"{names[2]}.xml", text), 2)]


def monusac(root: Path) -> list[Truth]:
    first, second = "TCGA-5P-A9K0-01Z-00-DX1", "TCGA-2Z-A9JG-01Z-00-DX1"
    training = root / "MoNuSAC_images_and_annotations" / first
    test = root / "MoNuSAC Testing Data and Annotations" / second
    save(training / f"{first}_1.tif", pixels(0))
    save(training / f"{first}_1.svs", pixels(100))
    known = {"Epithelial": BOXES[:1], "Macrophage": BOXES[1:2], "Lymphocyte": BOXES[2:]}
    file = save_text(training / f"{first}_1.xml", image_scope(known))
    classes = ("epithelial", "macrophage", "lymphocyte")
    vague = (1, 14, 9, 20)
    save(test / f"{second}_1.svs", pixels(1))
    other = save_text(
        test / f"{second}_1.xml", image_scope({**known, "Ambiguous": [vague, BOXES[0]]})
    )
    return [
        Truth(f"{first}_1", "train", file, 0, classes),
        Truth(f"{second}_1", "test", other, 1, classes, ignored=area(*vague)),
    ]


def pannuke(root: Path) -> list[Truth]:
    channels = ("neoplastic", "inflammatory", "connective", "dead", "epithelial")
    own = ("epithelial", "neoplastic", "neoplastic")
    masks = np.zeros((*SIZE, 6))
    for number, (box, name) in enumerate(zip(BOXES, own, strict=True), 1):
        # numbers are unique within a channel only
        masks[area(*box), channels.index(name)] = 3 if name == "epithelial" else number
    masks[..., 5] = boxes() == 0
    truths = []
    for fold in (1, 2, 3):
        folder = root / f"Fold {fold}"
        seeds = [10 * fold, 10 * fold + 1]
        images = np.stack([pixels(seed) for seed in seeds]).astype(float)
        save_npy(folder / "images" / f"fold{fold}" / "images.npy", images)
        tissues = np.array(["Breast", "Bile-duct"])
        save_npy(folder / "images" / f"fold{fold}" / "types.npy", tissues)
        file = save_npy(folder / "masks" / f"fold{fold}" / "masks.npy", np.stack([masks] * 2))
        for index, (tissue, seed) in enumerate(zip(tissues, seeds, strict=True)):
            name = f"fold{fold}_{index:04d}_{tissue}"
            truths.append(Truth(name, f"fold{fold}", file, seed, own))
    return truths


def conic(root: Path) -> list[Truth]:
    own = ("neutrophil", "epithelial", "connective")
    kinds = np.array([0, 1, 2, 6])
    labels = np.stack([boxes() * 3, kinds[boxes()]], -1).astype(np.uint16)
    save_npy(root / "images.npy", np.stack([pixels(0), pixels(1)]))
    file = save_npy(root / "labels.npy", np.stack([labels, labels]))
    columns = "neutrophil,epithelial,lymphocyte,plasma,eosinophil,connective"
    save_text(root / "counts.csv", f"{columns}\n1,1,0,0,0,1\n1,1,0,0,0,1\n")
    save_text(root / "patch_info.csv", "patch_info\nconsep_1-0000\ndpath_3-0002\n")
    names = ("consep_1-0000", "dpath_3-0002")
    return [Truth(name, "", file, seed, own) for seed, name in enumerate(names)]


def lizard(root: Path) -> list[Truth]:
    truths = []
    rows = ["Filename,Source,Split"]
    own = ("plasma", "eosinophil", "lymphocyte")
    for seed, (name, half, part) in enumerate([("consep_1", 1, 3), ("dpath_10", 2, 1)]):
        save(root / f"lizard_images{half}" / f"Lizard_Images{half}" / f"{name}.png", pixels(seed))
        labels = root / "lizard_labels" / "Lizard_Labels"
        file = save_mat(
            labels / "Labels" / f"{name}.mat",
            inst_map=(boxes() * 2).astype(np.int32),
            # not in the order of the numbers
            id=np.array([[6], [2], [4]]),
            **{"class": np.array([[3], [4], [5]])},
            bbox=np.zeros((3, 4)),
            centroid=np.zeros((3, 2)),
        )
        rows.append(f"{name},x,{part}")
        save(root / "overlay" / "Overlay" / f"{name}.png", pixels(100))
        truths.append(Truth(name, f"split{part}", file, seed, own))
    save_text(root / "lizard_labels" / "Lizard_Labels" / "info.csv", "\n".join(rows))
    return truths


APART = ((3, 2, 10, 9), (11, 4, 18, 12), (25, 15, 32, 24))


def tnbc(root: Path) -> list[Truth]:
    truths = []
    labels = boxes(APART)
    for seed, (patient, name) in enumerate([("01", "01_1"), ("11", "11_3")]):
        save(root / f"Slide_{patient}" / f"{name}.png", pixels(seed))
        mask = np.where(labels > 0, 255, 0).astype(np.uint8)
        file = save(root / f"GT_{patient}" / f"{name}.png", mask)
        truths.append(Truth(name, "", file, seed, labels=labels))
    return truths


def cryonuseg(root: Path) -> list[Truth]:
    first, second = "Annotator 1 (biologist)", "Annotator 2 (bioinformatician)"
    again = "Annotator 1 (biologist second round of manual marks up)"
    truths = []
    for seed, name in enumerate(("Human_AdrenalGland_01", "Human_Larynx_02")):
        save(root / "tissue images" / f"{name}.tif", pixels(seed))
        labels = boxes().astype(np.uint16)
        file = save(root / first / "label masks modify" / f"{name}.tif", labels)
        save(root / first / "label masks" / f"{name}.tif", labels * 3)
        for other in (second, again):
            save(root / other / other / "label masks modify" / f"{name}.tif", labels[::-1])
        truths.append(Truth(name, "", file, seed))
    return truths


def nuinsseg(root: Path) -> list[Truth]:
    truths = []
    vague = area(0, 18, 20, 24)
    for seed, organ in enumerate(("human bladder", "mouse liver")):
        name = f"{organ.replace(' ', '_')}_01"
        save(root / organ / "tissue images" / f"{name}.png", pixels(seed))
        labels = boxes().astype(np.uint16)
        file = save(root / organ / "label masks modify" / f"{name}.tif", labels)
        save(root / organ / "label masks" / f"{name}.tif", labels * 3)
        save(root / organ / "mask binary" / f"{name}.png", (labels > 0).astype(np.uint8) * 255)
        # part of it lies on a nucleus, which counts
        covered = (vague | area(3, 2, 5, 4)).astype(np.uint8) * 255
        save(root / organ / "vague areas" / "mask binary" / f"{name}.png", covered)
        truths.append(Truth(name, "", file, seed, ignored=vague))
    return truths


def nucls(root: Path) -> list[Truth]:
    truths = []
    for seed, (slide, fold) in enumerate([("TCGA-A1-A0SP-DX1", 2), ("TCGA-AC-A2QH-DX1", 5)]):
        name = f"{slide}_id-1_left-10_top-20_bottom-44_right-42"
        save(root / "rgb" / f"{name}.png", pixels(seed))
        own = ("tumor", "plasma_cell", "unlabeled")
        table = pd.DataFrame(BOXES, columns=["xmin", "ymin", "xmax", "ymax"])
        table["raw_classification"] = ["tumor", "correction_plasma_cell", "unlabeled"]
        table["main_classification"] = table["super_classification"] = "x"
        table["type"] = "polyline"
        for axis, key in enumerate(("coords_x", "coords_y")):
            table[key] = [",".join(str(at[axis]) for at in corners(box)) for box in BOXES]
        (root / "csv").mkdir(parents=True, exist_ok=True)
        file = root / "csv" / f"{name}.csv"
        table.to_csv(file)
        splits = root / "train_test_splits" / f"fold_{fold}_test.csv"
        save_text(splits, f",slide_name,hospital,type,fold\n0,{slide},A1,test,{fold}\n")
        truths.append(Truth(name, f"fold{fold}", file, seed, (*own[:2], "")))
    save_text(root / "csv" / "ALL_FOV_LOCATIONS.csv", "fovname\n")
    return truths


def plain(root: Path) -> list[Truth]:
    truths = []
    for seed, name in enumerate("ab"):
        save(root / "images" / f"{name}.png", pixels(seed))
        file = save(root / "labels" / f"{name}.tif", boxes().astype(np.uint16))
        save_text(root / "labels" / f"{name}.csv", "label,type\n1,pale\n3,dark\n")
        truths.append(Truth(name, "", file, seed, ("pale", "", "dark")))
    return truths


PUBLISHED: dict[str, tuple[str, Callable[[Path], list[Truth]]]] = {
    "folder": ("folder", plain),
    "consep": ("consep", consep),
    "pannuke": ("pannuke", pannuke),
    "kumar": ("kumar", kumar),
    "kumar_mat": ("kumar", kumar_mat),
    "monuseg": ("monuseg", monuseg),
    "monusac": ("monusac", monusac),
    "cpm15": ("cpm15", cpm15),
    "cpm17": ("cpm17", cpm17),
    "tnbc": ("tnbc", tnbc),
    "cryonuseg": ("cryonuseg", cryonuseg),
    "nuinsseg": ("nuinsseg", nuinsseg),
    "conic": ("conic", conic),
    "lizard": ("lizard", lizard),
    "nucls": ("nucls", nucls),
}
"""Layout to the name of its format and what writes it."""
