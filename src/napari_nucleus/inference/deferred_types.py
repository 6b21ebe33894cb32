"""Nuclei that are found tile by tile, and typed once all of them are."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Self

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from napari_nucleus.files import write_errors

if TYPE_CHECKING:
    from napari_nucleus.models import NucleusModel


class DeferredTypes:
    """Nuclei and their features on disk, nameless and gone with the process.

    Centroids alone stay in memory: neighbours are looked for among all of them.

    Parameters
    ----------
    folder : Path
        Where there is room.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._centroids: list[NDArray[np.float64]] = []
        with write_errors(folder):
            self._rows = TemporaryFile(dir=folder)  # noqa: SIM115
            self._features = TemporaryFile(dir=folder)  # noqa: SIM115

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._rows.close()
        self._features.close()

    def add(
        self, rows: pd.DataFrame, centroids: NDArray[np.float64], features: NDArray[np.floating]
    ) -> None:
        """Keep nuclei; features are kept in half precision.

        Parameters
        ----------
        rows : DataFrame
            Of the table, as `ResultWriter.append` takes them, without types.
        centroids, features : ndarray of float64
            As `NucleusModel.classify` takes them.

        Raises
        ------
        UserError
            If the disk is full.
        """
        batch = pa.RecordBatch.from_pandas(rows, preserve_index=False)
        with write_errors(self._folder):
            with pa.ipc.new_stream(self._rows, batch.schema) as stream:
                stream.write_batch(batch)
            self._features.write(features.astype(np.float16).tobytes())
        self._centroids.append(centroids)

    def typed(self, network: "NucleusModel") -> Iterator[pd.DataFrame]:
        """Yield the nuclei with their types, as they came.

        Parameters
        ----------
        network : NucleusModel
            Types them, all at once.

        Yields
        ------
        DataFrame
            Rows of one `add`, as `ResultWriter.append` takes them.
        """
        if not self._centroids:
            return
        with write_errors(self._folder):
            self._features.flush()
        shape = (sum(map(len, self._centroids)), -1)
        features = np.memmap(self._features, np.float16, "r").reshape(shape)
        types, probabilities = network.classify(np.concatenate(self._centroids), features)
        self._rows.seek(0)
        start = 0
        for centroids in self._centroids:
            rows = pa.ipc.open_stream(self._rows).read_pandas()
            stop = start + len(centroids)
            yield rows.assign(type=types[start:stop], type_prob=probabilities[start:stop])
            start = stop
