"""The page *Nucleus* of napari's preferences, which the manifest describes."""

from dataclasses import dataclass
from pathlib import Path

from napari.settings import get_plugin_settings

from napari_nucleus.errors import UserError
from napari_nucleus.weights.store import DEFAULT_MODEL


@dataclass(frozen=True)
class Preferences:
    """What the user prefers.

    Attributes
    ----------
    device : str
        ``"automatic"``, or the first part of the name of a device in PyTorch.
    model : str
        Name of the model that is chosen at first.
    results_folder : str
        Absolute folder for results; empty for the folder of the image.
    reviewed : int
        Nuclei in a review of uncertain ones.
    """

    device: str = "automatic"
    model: str = DEFAULT_MODEL
    results_folder: str = ""
    reviewed: int = 50

    def folder_of_results(self) -> Path | None:
        """Return the folder for results, None for that of the image.

        Raises
        ------
        UserError
            If it is a relative one.
        """
        if not self.results_folder.strip():
            return None
        folder = Path(self.results_folder.strip()).expanduser()
        if not folder.is_absolute():
            raise UserError(
                f"The folder for results in the preferences, {folder}, is not a full path: "
                "enter one, or leave it empty."
            )
        return folder


def preferences() -> Preferences:
    """Return the preferences as they are now."""
    try:
        values = get_plugin_settings("napari-nucleus").general.model_dump()
    except KeyError:  # the plugin is not installed, but on the path
        return Preferences()
    return Preferences(**values)
