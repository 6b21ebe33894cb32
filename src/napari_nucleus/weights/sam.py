"""SAM's weights: the official files, where they are looked for, and how they are fetched.

None ships: each is downloaded where its user asks for it, or given as a file. Told without loading
torch.

Papers: Kirillov et al. "Segment anything", ICCV 2023; Zhang et al. "Faster Segment Anything:
towards lightweight SAM for mobile applications", 2023. Licence of all four files: Apache-2.0.
"""

from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from napari_nucleus.errors import UserError
from napari_nucleus.files import sha256 as file_sha256
from napari_nucleus.files import write_errors
from napari_nucleus.weights.store import trained_dir

_PATIENCE = 10.0
"""Seconds in which the address has to answer."""

_CHUNK = 2**18
"""Bytes between two calls of a download's progress."""


@dataclass(frozen=True)
class SamWeights:
    """An official file of weights.

    Attributes
    ----------
    title : str
        Name of the network in its paper.
    url : str
        Where its authors publish it.
    size : int
        In bytes.
    sha256 : str
        In hexadecimal.
    """

    title: str
    url: str
    size: int
    sha256: str

    @property
    def filename(self) -> str:
        """Name of the file."""
        return self.url.rpartition("/")[2]


_MOBILE_SAM = "https://github.com/ChaoningZhang/MobileSAM/raw/master/weights"
_SAM = "https://dl.fbaipublicfiles.com/segment_anything"

SAM_WEIGHTS = {
    "vit_t": SamWeights(
        "MobileSAM",
        f"{_MOBILE_SAM}/mobile_sam.pt",
        40_728_226,
        "6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f",
    ),
    "vit_b": SamWeights(
        "SAM ViT-B",
        f"{_SAM}/sam_vit_b_01ec64.pth",
        375_042_383,
        "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
    ),
    "vit_l": SamWeights(
        "SAM ViT-L",
        f"{_SAM}/sam_vit_l_0b3195.pth",
        1_249_524_607,
        "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
    ),
    "vit_h": SamWeights(
        "SAM ViT-H",
        f"{_SAM}/sam_vit_h_4b8939.pth",
        2_564_550_879,
        "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
    ),
}
"""The official weights by the name of their image encoder, smallest first."""


def find_sam(source: str | Path) -> Path:
    """Return the file of SAM's weights given by name or path.

    Parameters
    ----------
    source : str or Path
        A name of `SAM_WEIGHTS`, whose file is looked for in `trained_dir`, or a file.

    Raises
    ------
    UserError
        If there is no such file; the message says how to get it.
    """
    if str(source) in SAM_WEIGHTS:
        weights = SAM_WEIGHTS[str(source)]
        path = trained_dir() / weights.filename
        if not path.is_file():
            raise UserError(
                f"{weights.title} needs its weights ({weights.size / 1e6:.0f} MB): let them be "
                f"downloaded, or put {weights.filename} from {weights.url} into {path.parent}."
            )
        return path
    path = Path(source)
    if not path.is_file():
        near = get_close_matches(str(source), SAM_WEIGHTS, n=1) or list(SAM_WEIGHTS)
        raise UserError(
            f"There are no SAM weights {str(source)!r}: give a file or {', '.join(near)}."
        )
    return path


def find_sam_by_sha256(kind: str, sha256: str) -> Path:
    """Return the file of the very weights that a model was trained with, looked for by content.

    Parameters
    ----------
    kind : str
        A name of `SAM_WEIGHTS`.
    sha256 : str
        Of the file.

    Raises
    ------
    UserError
        If they are not in `trained_dir`; the message says how to get them.
    """
    weights = SAM_WEIGHTS[kind]
    if sha256 == weights.sha256:
        return find_sam(kind)
    folder = trained_dir()
    for file in sorted(folder.glob("*.pt*")):
        if file_sha256(file) == sha256:
            return file
    raise UserError(
        f"The model was trained with other weights of {weights.title} than the official ones, of "
        f"SHA-256 {sha256[:12]}…: put their file, .pt or .pth, into {folder}."
    )


def missing_sam(kind: str, sha256: str) -> str | None:
    """Return how to get the weights that a model was trained with; None if they are there.

    The parameters are those of `find_sam_by_sha256`.
    """
    try:
        find_sam_by_sha256(kind, sha256)
    except UserError as error:
        return str(error)
    return None


def check_sam(path: Path) -> str:
    """Return the SHA-256 of a file of weights.

    Raises
    ------
    UserError
        If the file bears an official file's name without being that file.
    """
    digest = file_sha256(path)
    for weights in SAM_WEIGHTS.values():
        if path.name == weights.filename and digest != weights.sha256:
            raise UserError(
                f"{path} is not {weights.title} as published, or only a part of it: it has "
                f"{path.stat().st_size:,} bytes and SHA-256 {digest[:12]}…, the official file "
                f"{weights.size:,} and {weights.sha256[:12]}…; delete it and get it again, or "
                "rename it if it is meant to differ."
            )
    return digest


def fetch_sam(name: str, progress: Callable[[int, int], object]) -> Path:
    """Download official weights into `trained_dir`, for whoever has consented to it.

    The file appears under its name only when it is whole and has the known SHA-256. If it is
    there already, nothing is downloaded.

    Parameters
    ----------
    name : str
        A name of `SAM_WEIGHTS`.
    progress : callable
        Called with the bytes that have come and those that are to come in all. What it raises
        ends the download.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    UserError
        If the address does not answer, gives another file, or the disk is full.
    """
    import pooch
    from requests import RequestException

    weights = SAM_WEIGHTS[name]
    folder = trained_dir()
    by_hand = f"download it elsewhere and put it into {folder}."
    bar = _Bar(weights.size, progress)
    downloader = pooch.HTTPDownloader(bar, chunk_size=_CHUNK, timeout=_PATIENCE)
    with write_errors(folder / weights.filename):
        try:
            pooch.retrieve(
                weights.url, f"sha256:{weights.sha256}", weights.filename, folder, None, downloader
            )
        except RequestException as error:
            raise UserError(
                f"{weights.title} cannot be fetched from {weights.url} "
                f"({type(error).__name__}): check the network, or {by_hand}"
            ) from error
        except ValueError as error:  # pooch's for a wrong hash
            raise UserError(
                f"{weights.url} gave another file than {weights.title} as published: try again, "
                f"or {by_hand}"
            ) from error
    return folder / weights.filename


class _Bar:
    """What pooch wants for a progress bar, handing on to a function."""

    def __init__(self, size: int, progress: Callable[[int, int], object]) -> None:
        self.total = 0  # pooch writes here what the address says
        self._size = size
        self._done = 0
        self._progress = progress

    def update(self, count: int) -> None:
        # Pooch counts whole chunks, and everything once more at the end.
        self._done = min(self._done + count, self._size)
        self._progress(self._done, self._size)

    def reset(self) -> None:
        pass

    def close(self) -> None:
        pass
