"""Writers of layers."""

from typing import Any

from napari_nucleus.errors import UserError
from napari_nucleus.results import export, open_result


def write_csv(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write the table of nuclei of a `nuclei` layer.

    Raises
    ------
    UserError
        If the layer was not made by this plugin, or the file cannot be written.
    """
    folder = attributes["metadata"].get("result")
    if folder is None:
        raise UserError(f"{attributes['name']} has no table of nuclei: select the layer 'nuclei'.")
    export.write_csv(open_result(folder), path)
    return [path]
