"""SAM's weights: the official files, found on disk or downloaded, without loading torch.

None ships: each is downloaded when the user asks for it, or given as a file.

Papers: Kirillov et al. "Segment anything", ICCV 2023; Zhang et al. "Faster Segment Anything:
towards lightweight SAM for mobile applications", 2023. Licence of all four files: Apache-2.0.
"""

from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from napari_nucleus.errors import UserError
from napari_nucleus.files import sha256 as file_sha256
from napari_nucleus.files import visible_files, write_errors
from napari_nucleus.weights.store import trained_dir

_PATIENCE = 10.0
"""Timeout of the server, in seconds."""

_CHUNK = 2**18
"""Bytes between two calls of a download's progress."""


@dataclass(frozen=True)
class SamWeights:
    """An official weights file.

    Attributes
    ----------
    title : str
        Name of the network in its paper.
    url : str
        Address at which its authors publish it.
    size : int
        Size in bytes.
    sha256 : str
        Hash, hexadecimal.
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

    Returns
    -------
    Path
        The file.

    Raises
    ------
    UserError
        If it does not exist; the message says how to get it.
    """
    if str(source) in SAM_WEIGHTS:
        weights = SAM_WEIGHTS[str(source)]
        path = trained_dir() / weights.filename
        if not path.is_file():
            raise UserError(
                f"{weights.title} needs its weights ({weights.size / 1e6:.0f} MB): download them "
                f"here, or put {weights.filename} from {weights.url} into {path.parent}."
            )
        return path
    path = Path(source)
    if not path.is_file():
        near = get_close_matches(str(source), SAM_WEIGHTS, n=1) or list(SAM_WEIGHTS)
        raise UserError(f"Unknown SAM weights {str(source)!r}: give a file or {', '.join(near)}.")
    return path


def find_sam_by_sha256(kind: str, sha256: str) -> Path:
    """Return the file of the weights that a model was trained with, found by its hash.

    Parameters
    ----------
    kind : str
        A name of `SAM_WEIGHTS`.
    sha256 : str
        Hash of the file, hexadecimal.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    UserError
        If it is not in `trained_dir`; the message says how to get it.
    """
    weights = SAM_WEIGHTS[kind]
    if sha256 == weights.sha256:
        return find_sam(kind)
    folder = trained_dir()
    for file in visible_files(folder, "*.pt*"):
        if file_sha256(file) == sha256:
            return file
    raise UserError(
        f"The model was trained with unofficial weights of {weights.title} (SHA-256 "
        f"{sha256[:12]}…): put their .pt or .pth file into {folder}."
    )


def missing_sam(kind: str, sha256: str) -> str | None:
    """Return how to get the weights that a model was trained with, if they are missing.

    Parameters
    ----------
    kind : str
        A name of `SAM_WEIGHTS`.
    sha256 : str
        Hash of the file, hexadecimal.

    Returns
    -------
    str or None
        Message for the user; None if the weights are found.
    """
    try:
        find_sam_by_sha256(kind, sha256)
    except UserError as error:
        return str(error)
    return None


def check_sam(path: Path) -> str:
    """Return the SHA-256 of a weights file.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    str
        64 hexadecimal digits.

    Raises
    ------
    UserError
        If it has the name of an official file, but other contents.
    """
    digest = file_sha256(path)
    for weights in SAM_WEIGHTS.values():
        if path.name == weights.filename and digest != weights.sha256:
            raise UserError(
                f"{path} is incomplete or not the official {weights.title}: it has "
                f"{path.stat().st_size:,} bytes and SHA-256 {digest[:12]}…, the official file "
                f"{weights.size:,} and {weights.sha256[:12]}…. Download it again, or rename it if "
                "it differs on purpose."
            )
    return digest


def fetch_sam(name: str, progress: Callable[[int, int], object]) -> Path:
    """Download official weights into `trained_dir`; ask the user before.

    The file gets its name only when it is complete and has the known SHA-256. If it exists, nothing
    is downloaded.

    Parameters
    ----------
    name : str
        A name of `SAM_WEIGHTS`.
    progress : callable
        Called with the number of bytes downloaded and in total. An exception that it raises ends
        the download.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    UserError
        If the server does not answer or sends another file, or the disk is full.
    """
    import pooch
    from requests import RequestException

    weights = SAM_WEIGHTS[name]
    folder = trained_dir()
    by_hand = f"download it otherwise and put it into {folder}."
    bar = _Bar(weights.size, progress)
    downloader = pooch.HTTPDownloader(bar, chunk_size=_CHUNK, timeout=_PATIENCE)
    with write_errors(folder / weights.filename):
        try:
            pooch.retrieve(
                weights.url, f"sha256:{weights.sha256}", weights.filename, folder, None, downloader
            )
        except RequestException as error:
            raise UserError(
                f"{weights.title} cannot be downloaded from {weights.url} "
                f"({type(error).__name__}): check the network, or {by_hand}"
            ) from error
        except ValueError as error:  # pooch's for a wrong hash
            raise UserError(
                f"{weights.url} sent another file than the official {weights.title}: try again, "
                f"or {by_hand}"
            ) from error
    return folder / weights.filename


class _Bar:
    """Progress bar for pooch that calls a function."""

    def __init__(self, size: int, progress: Callable[[int, int], object]) -> None:
        self.total = 0  # set by pooch from the response
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
