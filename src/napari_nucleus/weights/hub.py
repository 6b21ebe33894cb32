"""Weights from the Hugging Face hub, or a quick word on why there are none."""

from functools import partial
from pathlib import Path

from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import LocalEntryNotFoundError

from napari_nucleus.errors import UserError

_PATIENCE = 3.0
"""Seconds that the hub has to answer."""


def fetch_weights(repository: str, filename: str = "model.safetensors") -> Path:
    """Return a file of weights from the hub's cache, or else from the hub.

    Parameters
    ----------
    repository : str
        Its name on the hub.
    filename : str
        Of the file in it.

    Raises
    ------
    UserError
        If it is not in the cache and the hub does not give it; at once where the hub is not there.
    """
    fetch = partial(hf_hub_download, repository, filename)
    try:
        try:
            return Path(fetch(local_files_only=True))
        except LocalEntryNotFoundError:
            # A download tries for a minute to reach a hub that is not there, this only once.
            HfApi().model_info(repository, timeout=_PATIENCE)
            return Path(fetch())
    except Exception as error:  # every version of the hub's client has its own
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise UserError(f"{repository} cannot be had from the hub ({reason}).") from error
