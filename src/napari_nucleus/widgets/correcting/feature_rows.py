"""The nuclei table in a layer's features, changed row by row."""

import numpy as np
import pandas as pd
from napari.layers import Labels

from napari_nucleus.widgets.layers import features_of


class FeatureRows:
    """Some nuclei as the features of a labels layer, in ascending order of their labels.

    Parameters
    ----------
    layer
        The layer.
    rows
        The nuclei, with the column `label`.
    """

    def __init__(self, layer: Labels, rows: pd.DataFrame) -> None:
        self._layer = layer
        self._fill(rows)

    def update(self, labels: np.ndarray, rows: pd.DataFrame) -> None:
        """Follow a correction.

        Parameters
        ----------
        labels
            Nuclei that came, went or changed.
        rows
            Those of them that there are.
        """
        table = self._layer.features
        known = table["index"].to_numpy()
        there = rows["label"].to_numpy()
        if np.array_equal(labels[np.isin(labels, known)], there):
            # In place: to give napari the table of 100,000 nuclei anew takes it 20 ms.
            lines = np.searchsorted(known, there)
            for name, values in rows.items():
                if not values.equals(table[name].iloc[lines].set_axis(values.index)):
                    table.iloc[lines, table.columns.get_loc(name)] = values.to_numpy()
            self._layer.events.features()
        else:
            kept = table[~np.isin(known, labels)].drop(columns="index")
            together = pd.concat([kept, rows]) if len(kept) else rows
            self._fill(together.sort_values("label", ignore_index=True))

    def _fill(self, rows: pd.DataFrame) -> None:
        self._layer.features = features_of(rows)
