"""Parameters of a post-processing as data, so that they can be fitted."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class PostprocessingParameters:
    """Keyword arguments of a post-processing.

    Attributes
    ----------
    published : dict of str to Any
        Values that hold where none were fitted.
    choices : dict of str to tuple of float
        Values to try.
    """

    published: dict[str, Any]
    choices: dict[str, tuple[float, ...]]
