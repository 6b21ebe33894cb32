"""What a model can do, in the words of its user."""

from collections.abc import Iterable
from math import isnan
from statistics import mean
from typing import Any

_TISSUES = {
    "cmu": "skin",
    "conic": "colon",
    "consep": "colon",
    "cryonuseg": "10 organs (frozen sections)",
    "dsb2018": "mixed tissues",
    "kumar": "7 organs",
    "lizard": "colon",
    "monusac": "4 organs",
    "monuseg": "several organs",
    "nucls": "breast",
    "nuinsseg": "31 organs",
    "pannuke": "19 organs",
    "tnbc": "breast",
}
"""Tissue of public datasets, by the first part of their names."""


def summary(about: dict[str, Any]) -> str:
    """Return classes, tissue, resolution and accuracy of a model in one line.

    Parameters
    ----------
    about : dict of str to Any
        As `store.read_card` returns.
    """
    parts = [_classes(about), f"{about['mpp']:g} µm/px"]
    if pq := _score(about["card"], "pq"):
        parts.append(f"PQ {pq}")
    return ", ".join(parts)


def description(about: dict[str, Any]) -> str:
    """Return several lines on a model.

    Parameters
    ----------
    about : dict of str to Any
        As `store.read_card` returns.
    """
    card = about["card"]
    names = ", ".join(name.replace("_", " ") for name in about["types"])
    lines = [f"{_classes(about)}{': ' * bool(names)}{names}"]
    if tissues := _tissues(card.get("data", ())):
        lines.append(f"Nuclei learned on: {tissues}")
    lines.append(f"Resolution: {about['mpp']:g} µm/px; images of another one are resampled")
    keys = {"pq": "PQ", "aji": "AJI", "f1d": "detection F1", "f1": "classes F1"}
    found = {name: _score(card, key) for key, name in keys.items()}
    if scores := ", ".join(f"{name} {score}" for name, score in found.items() if score):
        lines.append(f"Validation images: {scores}")
    lines += [
        f"{key.capitalize()}: {card[key]}" for key in ("started from", "licence") if key in card
    ]
    return "\n".join(lines)


def _classes(about: dict[str, Any]) -> str:
    count = len(about["types"])
    if not count:
        return "No classes"
    datasets = about["card"].get("scores", {}).get("datasets", {})
    typed = _tissues(name for name, scores in datasets.items() if "f1" in scores)
    classes = "1 class" if count == 1 else f"{count} classes"
    return f"{classes} learned on {typed}" if typed else classes


def _tissues(datasets: Iterable[str]) -> str:
    """Return the tissues of datasets, each once; an unknown dataset is called by its name."""
    return ", ".join(dict.fromkeys(_TISSUES.get(name.split("_")[0], name) for name in datasets))


def _score(card: dict[str, Any], key: str) -> str:
    """Return a validation score, averaged over datasets (and classes); empty without one."""
    datasets = card.get("scores", {}).get("datasets", {}).values()
    values = [_mean(entry[key]) for entry in datasets if key in entry]
    known = [value for value in values if not isnan(value)]
    return f"{mean(known):.2f}" if known else ""


def _mean(score: float | dict[str, float]) -> float:
    if not isinstance(score, dict):
        return score
    known = [value for value in score.values() if not isnan(value)]
    return mean(known) if known else float("nan")
