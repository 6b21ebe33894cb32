"""Whether a fine-tuned model is better than the original one at what was trained."""

from dataclasses import dataclass

_MEASURES = {"pq": "PQ", "f1": "F1 of the classes"}


@dataclass(frozen=True)
class Verdict:
    """Comparison of a new model with the original one.

    Attributes
    ----------
    scores : tuple of str
        Scores before and after.
    lower : tuple of str
        Those of them that fell.
    improved : bool
        Whether any of them rose.
    """

    scores: tuple[str, ...]
    lower: tuple[str, ...]
    improved: bool

    def __str__(self) -> str:
        """Return one line for the user."""
        if not self.scores:
            return "No classes are annotated in the validation regions: their F1 is unknown."
        first, *others = self.scores
        name, _, values = first.partition(": ")
        line = "; ".join([f"{name} on the validation regions: {values}", *others])
        return f"{line}." if self.improved else f"{line}. No improvement: review more regions."


def verdict(before: dict[str, float], after: dict[str, float], train: str) -> Verdict:
    """Compare the scores of what was trained.

    Parameters
    ----------
    before, after : dict of str to float
        Scores of both models (`comparison.overall`).
    train : {"types", "decoder", "all"}
        What was trained: ``"types"`` leaves the segmentation as it was, so that its PQ says
        nothing.

    Returns
    -------
    Verdict
        The comparison.

    Examples
    --------
    >>> print(verdict({"pq": 0.5, "f1": 0.4}, {"pq": 0.5, "f1": 0.45}, "types"))
    F1 of the classes on the validation regions: 0.400 → 0.450.
    """
    measures = ["f1"] if train == "types" else list(_MEASURES)
    keys = [key for key in measures if key in before and key in after]
    texts = {key: f"{_MEASURES[key]}: {before[key]:.3f} → {after[key]:.3f}" for key in keys}
    return Verdict(
        scores=tuple(texts.values()),
        lower=tuple(text for key, text in texts.items() if after[key] < before[key]),
        improved=any(after[key] > before[key] for key in keys),
    )
