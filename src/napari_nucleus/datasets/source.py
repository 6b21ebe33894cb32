"""Sources: datasets on disk and how they are read."""

from fnmatch import fnmatch
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field, InstanceOf
from pydantic.dataclasses import dataclass

from napari_nucleus.datasets.sample import Sample
from napari_nucleus.slides import Slide, check_mpp


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Source:
    """A dataset on disk and how it is read.

    Attributes
    ----------
    path : Path
        Its folder.
    format : str
        Name of a format (`FORMATS`); ``"auto"`` recognises it by the layout.
    parts : tuple of str
        Parts of the official split to read; if empty, those that the format trains on.
    mpp : float, "nuclei" or None
        Micrometres per pixel of its images; ``"nuclei"`` estimates it per image from its nuclei,
        for collections of unknown magnification; None leaves it to the files or the format.
    holdout : tuple of str
        Patterns of the names or parts of the images of the validation set.
    types : dict of str to str
        The dataset's own class name to the name of the type that it is to be learned as.
    labels : str
        Of a plain dataset folder: name of the folder with the label images.
    doubtful : str or None
        Of a plain dataset folder: CSV file in it with columns ``name,label``, nuclei that may be
        several.
    share : float
        Share of the training patches that come from it, relative to the other sources.
    image : Slide or None
        Of a result folder: its image, if that is not a file.
    """

    path: Path
    format: str = "auto"
    parts: tuple[str, ...] = ()
    mpp: Annotated[float, AfterValidator(check_mpp)] | Literal["nuclei"] | None = None
    holdout: tuple[str, ...] = ()
    types: dict[str, str] = Field(default_factory=dict)
    labels: str = "labels"
    doubtful: str | None = None
    share: Annotated[float, Field(ge=0)] = 1.0
    image: InstanceOf[Slide] | None = None


def is_held_out(source: Source, sample: Sample) -> bool:
    """Return whether a sample belongs to the validation set.

    Parameters
    ----------
    source : Source
        The dataset.
    sample : Sample
        One of its samples.

    Returns
    -------
    bool
        Whether its name or part fits a pattern of `Source.holdout`.
    """
    return any(
        fnmatch(name, pattern) for pattern in source.holdout for name in (sample.name, sample.part)
    )
