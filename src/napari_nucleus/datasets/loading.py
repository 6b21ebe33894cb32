"""Read datasets into samples with one set of types, at one resolution."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches

import numpy as np

from napari_nucleus.datasets.formats.base import AnnotatedImage, Format, Record
from napari_nucleus.datasets.formats.files import Layout
from napari_nucleus.datasets.formats.registry import FORMATS
from napari_nucleus.datasets.labels import number_labels, type_index
from napari_nucleus.datasets.sample import Sample, estimate_mpp, resample
from napari_nucleus.datasets.source import Source
from napari_nucleus.errors import UserError


def load_source(
    source: Source, types: Iterable[str] = (), mpp: float | None = None
) -> list[Sample]:
    """Read the images of a source into memory.

    Parameters
    ----------
    source : Source
        The dataset.
    types : iterable of str
        Names of the types to be learned, as `iter_source` has them.
    mpp : float or None
        Micrometres per pixel that the samples are resampled to; None leaves them as they are.

    Returns
    -------
    list of Sample
        By part and name.

    Raises
    ------
    UserError
        As `iter_source`.
    """
    return list(iter_source(source, types, mpp))


def iter_source(
    source: Source, types: Iterable[str] = (), mpp: float | None = None
) -> Iterator[Sample]:
    """Read the images of a source one by one.

    Parameters
    ----------
    source : Source
        The dataset.
    types : iterable of str
        Names of the types to be learned. A nucleus gets the type that `Source.types` gives its
        class; else its class, if it is among them; else the one of `COMMON_TYPES` that the format
        counts its class to, if it is among them; else it is `UNKNOWN`.
    mpp : float or None
        Micrometres per pixel that the samples are resampled to; None leaves them as they are.

    Yields
    ------
    Sample
        By part and name.

    Raises
    ------
    UserError
        If the format is unknown or ambiguous, there is no image of the wanted parts, or a file is
        missing or damaged; if labels do not match their image; if `Source.types` names a class that
        the dataset does not have, or a type that is not to be learned.
    """
    wanted = list(types)
    layout = Layout.of(source.path)
    format = find_format(source, layout)
    names = _type_names(source, format, layout, wanted) if wanted else {}
    for record in _wanted_records(source, format, layout):
        sample = _sample(source, format, record, names, wanted)
        yield sample if mpp is None else resample(sample, mpp)


def find_format(source: Source, layout: Layout) -> Format:
    """Return the format of a source, by name or by its layout.

    Parameters
    ----------
    source : Source
        The dataset.
    layout : Layout
        Its files.

    Returns
    -------
    Format
        One of `FORMATS`.

    Raises
    ------
    UserError
        If it fits no format, or several.
    """
    if source.format != "auto":
        if source.format not in FORMATS:
            raise UserError(f"Unknown format {source.format!r}{_near(source.format, FORMATS)}")
        found = [FORMATS[source.format]]
    else:
        found = [format for format in FORMATS.values() if format.matches(layout)]
    if len(found) != 1:
        names = ", ".join(format.name for format in found)
        fits = f"fits several formats ({names})" if found else "fits no known format"
        raise UserError(
            f"{source.path} {fits}: set the format in the recipe's [data.{source.path.name}] to "
            f"one of {', '.join(FORMATS)}."
        )
    if (source.labels != "labels" or source.doubtful) and found[0].name != "folder":
        raise UserError(
            f"[data.{source.path.name}]: labels and doubtful are options of plain dataset folders, "
            f"but {source.path} is read as {found[0].name}: remove them."
        )
    return found[0]


def find_types(sources: Iterable[Source]) -> tuple[str, ...]:
    """Return the names of the types that datasets annotate, in alphabetical order.

    They are the datasets' own class names, as `Source.types` renames them, if all that have classes
    have the same ones. Datasets with different classes are learned together by the types of
    `COMMON_TYPES` that each of their formats knows, and by the own names of formats that know none.

    Parameters
    ----------
    sources : iterable of Source
        The datasets.

    Returns
    -------
    tuple of str
        Names of types.

    Raises
    ------
    UserError
        If a source or a table of types cannot be read.
    """
    own: list[set[str]] = []
    common: set[str] = set()
    for source in sources:
        layout = Layout.of(source.path)
        format = find_format(source, layout)
        if classes := _own_types(source, format, layout):
            own.append({source.types.get(name, name) for name in classes})
            shared = {**format.common, **source.types}
            common |= {shared.get(n, n) for n in classes if n in shared or not format.common}
    same = all(names == own[0] for names in own)
    return tuple(sorted(own[0] if own and same else common))


def _own_types(source: Source, format: Format, layout: Layout) -> set[str]:
    return set(format.find_types(source, layout) if format.find_types else format.types)


def _type_names(
    source: Source, format: Format, layout: Layout, wanted: Sequence[str]
) -> dict[str, str]:
    """Return the wanted type that a class is learned as, where not as its own name."""
    where = f"[data.{source.path.name}.types]"
    own = _own_types(source, format, layout) if source.types else set()
    for name, target in source.types.items():
        if name not in own:
            raise UserError(f"{where}: the dataset has no class {name!r}{_near(name, own)}")
        if target not in wanted:
            raise UserError(
                f"{where}: {target!r} is not a type to be learned{_near(target, wanted)}"
            )
    common = {name: to for name, to in format.common.items() if to in wanted and name not in wanted}
    return {**common, **source.types}


def _near(name: str, known: Iterable[str]) -> str:
    """Return the end of a message: the known name that is most like it, or all of them."""
    known = sorted(known)
    near = get_close_matches(name, known, n=1)
    if near:
        return f": did you mean {near[0]!r}?"
    return f": there are {', '.join(known)}." if known else ": there are none."


def _wanted_records(source: Source, format: Format, layout: Layout) -> list[Record]:
    found = list(format.records(source, layout))
    twice = {name for name, count in Counter(r.name for r in found).items() if count > 1}
    found = [r._replace(name=f"{r.part}_{r.name}") if r.name in twice else r for r in found]
    there = {record.part for record in found}
    for part in source.parts:
        if part not in format.parts:
            raise UserError(f"{source.path} has no part {part!r}{_near(part, format.parts)}")
    parts = set(source.parts) or ({*format.training_parts, ""} if format.training_parts else there)
    records = sorted((r for r in found if r.part in parts), key=lambda r: (r.part, r.name))
    if not records:
        other = f"; it has the parts {', '.join(sorted(there))}" if there else ""
        raise UserError(
            f"{source.path}, read as {format.name}, has no annotated image"
            + (f" of the parts {', '.join(sorted(parts - {''}))}" if parts - {""} else "")
            + f"{other}: choose another folder or other parts."
        )
    return records


def _sample(
    source: Source, format: Format, record: Record, names: dict[str, str], wanted: list[str]
) -> Sample:
    read = record.read()
    labels, ids = number_labels(read.labels, record.file)
    ignored = _ignored(read, labels)
    for mask, content in ((labels, "labels"), (ignored, "ignored areas")):
        if mask is not None and mask.shape != read.image.shape[:2]:
            raise UserError(
                f"{record.file} has {content} of {mask.shape[1]} x {mask.shape[0]} px, its image "
                f"{read.image.shape[1]} x {read.image.shape[0]}: they must match."
            )
    types = {label: names.get(name, name) for label, name in read.types.items()}
    return Sample(
        name=record.name,
        dataset=source.path.name,
        image=read.image,
        labels=labels,
        types=type_index(types, wanted, ids),
        doubtful=np.isin(ids, list(read.doubtful)),
        mpp=_mpp(source, format, read, labels),
        part=record.part,
        tissue=record.tissue,
        ignored=ignored,
    )


def _ignored(read: AnnotatedImage, labels: np.ndarray) -> np.ndarray | None:
    if read.ignored is None or read.ignored.shape != labels.shape:
        return read.ignored
    ignored = read.ignored & (labels == 0)
    return ignored if ignored.any() else None


def _mpp(source: Source, format: Format, read: AnnotatedImage, labels: np.ndarray) -> float:
    if source.mpp == "nuclei":
        return estimate_mpp(labels)
    return source.mpp or read.mpp or format.mpp
