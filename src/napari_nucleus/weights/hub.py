"""Weights from the Hugging Face hub."""

from functools import partial
from pathlib import Path

from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import LocalEntryNotFoundError

from napari_nucleus.errors import UserError

_PATIENCE = 3.0
"""Timeout of the hub, in seconds."""


def fetch_weights(repository: str, filename: str = "model.safetensors") -> Path:
    """Return a file of weights from the hub's cache, or else from the hub.

    Parameters
    ----------
    repository : str
        Name on the hub, ``"owner/name"``.
    filename : str
        Name of the file in the repository.

    Returns
    -------
    Path
        The file in the cache.

    Raises
    ------
    UserError
        If it is not in the cache and cannot be downloaded; within seconds if the hub is not
        reachable.
    """
    fetch = partial(hf_hub_download, repository, filename)
    try:
        try:
            return Path(fetch(local_files_only=True))
        except LocalEntryNotFoundError:
            # A download retries for a minute if the hub is not reachable, this does not.
            HfApi().model_info(repository, timeout=_PATIENCE)
            return Path(fetch())
    except Exception as error:  # every version of the hub's client has its own
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise UserError(
            f"{repository} cannot be downloaded from the hub ({reason}): check the network."
        ) from error
