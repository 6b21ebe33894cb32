"""Types that a classifier gave to many nuclei at once."""

import base64
import zlib
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Retyped:
    """Types and probabilities that nuclei had and got, some bytes a nucleus.

    Attributes
    ----------
    labels : (N,) ndarray of int32
        The nuclei, ascending.
    names : tuple of str
        Names of the types.
    before, after : (N,) ndarray of uint16
        Places in `names`.
    prob_before, prob_after : (N,) ndarray of float32
        Probabilities of the types.
    """

    labels: NDArray[np.int32]
    names: tuple[str, ...]
    before: NDArray[np.uint16]
    after: NDArray[np.uint16]
    prob_before: NDArray[np.float32]
    prob_after: NDArray[np.float32]

    def inverse(self) -> Self:
        """Return the change that takes this one back."""
        return replace(
            self,
            before=self.after,
            after=self.before,
            prob_before=self.prob_after,
            prob_after=self.prob_before,
        )

    def to_json(self) -> dict[str, Any]:
        """Return what a line of the journal holds of it."""
        steps = np.diff(self.labels, prepend=0)
        columns: list[NDArray[Any]] = [steps, self.before, self.after]
        columns += [self.prob_before, self.prob_after]
        data = b"".join(
            column.astype(dtype, copy=False).tobytes()
            for column, dtype in zip(columns, _DTYPES, strict=True)
        )
        packed = base64.b85encode(zlib.compress(data, 1)).decode()
        return {"count": len(self.labels), "names": list(self.names), "data": packed}

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Self:
        """Return what `to_json` was made of.

        Parameters
        ----------
        stored : dict of str to Any
            Part of a line of the journal.

        Raises
        ------
        KeyError, TypeError, ValueError
            If it is damaged.
        """
        try:
            data = zlib.decompress(base64.b85decode(stored["data"]))
        except zlib.error as error:
            raise ValueError(str(error)) from error
        sizes = [np.dtype(dtype).itemsize * stored["count"] for dtype in _DTYPES]
        if sum(sizes) != len(data):
            raise ValueError("types of nuclei are missing")
        parts = np.split(np.frombuffer(data, np.uint8), np.cumsum(sizes)[:-1])
        steps, *columns = (part.view(dtype) for part, dtype in zip(parts, _DTYPES, strict=True))
        names = tuple(stored["names"])
        if max(columns[0].max(initial=0), columns[1].max(initial=0)) >= max(len(names), 1):
            raise ValueError("names of types are missing")
        return cls(np.cumsum(steps, dtype=np.int32), names, *columns)


_DTYPES = ("<i4", "<u2", "<u2", "<f4", "<f4")
