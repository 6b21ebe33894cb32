"""Cache on disk for the features of frozen encoders."""

import hashlib
import json
import logging
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import platformdirs
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from napari_nucleus.models.devices import memory_format

Encode = Callable[[Tensor], list[Tensor]]

_LIMIT = 20 * 2**30
"""Bytes that a user's cache may take."""

_log = logging.getLogger(__name__)


def cache_dir() -> Path:
    """Return the folder in which features are kept for this user."""
    return platformdirs.user_cache_path("napari-nucleus") / "features"


def weights_hash(part: nn.Module, about: Any) -> str:
    """Return the SHA-256 of the weights of a part of a model and of its description.

    Parameters
    ----------
    part : nn.Module
        Part of a model.
    about : Any
        What else its features depend on, as JSON can hold it.

    Returns
    -------
    str
        In hexadecimal.
    """
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for name, value in part.state_dict().items():
        digest.update(name.encode())
        digest.update(_bytes(value))
    return digest.hexdigest()


class FeatureCache:
    """Features by the content of the images and of the weights that made them.

    Several processes may share a folder: an entry appears when it is whole. One that is damaged is
    computed again. What was not used for longest goes first.

    Parameters
    ----------
    folder : Path or None
        Where the entries lie; None is `cache_dir`.
    limit_bytes : int
        How much they may take together.
    """

    def __init__(self, folder: Path | None = None, limit_bytes: int = _LIMIT) -> None:
        self.folder = folder or cache_dir()
        self.limit_bytes = limit_bytes
        self._bytes = sum(stat.st_size for _, stat in self._files())
        self._writes = True

    def features(self, images: Tensor, encode: Encode, weights: str) -> list[Tensor]:
        """Return the features of images, computed or from the cache.

        Parameters
        ----------
        images : Tensor
            (B, ...), on the device that the features are wanted on.
        encode : Encode
            Maps images to a list of tensors (B, ...), each image by itself.
        weights : str
            Hash of whatever `encode` depends on.
        """
        keys = [_key(weights, image) for image in images]
        entries = [self._read(key) for key in keys]
        missing = [i for i, entry in enumerate(entries) if entry is None]
        if missing:
            fresh = [level.cpu() for level in encode(images[missing])]
            for row, i in enumerate(missing):
                entries[i] = entry = [level[row].contiguous() for level in fresh]
                self._write(keys[i], entry)
        levels = zip(*filter(None, entries), strict=True)
        # a CPU's autocast cannot stack half precision, in which SAM's embedding comes
        with torch.autocast(images.device.type, enabled=False):
            return [_laid_out(torch.stack(level).to(images.device)) for level in levels]

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.safetensors"

    def _read(self, key: str) -> list[Tensor] | None:
        path = self._path(key)
        try:
            with safe_open(path, framework="pt") as file:
                entry = [file.get_tensor(str(i)) for i in range(len(file.keys()))]
                checksum = (file.metadata() or {}).get("crc32")
            os.utime(path)
        except (SafetensorError, OSError):  # not there, cut short, or removed in this moment
            return None
        return entry if checksum == _checksum(entry) else None

    def _write(self, key: str, entry: list[Tensor]) -> None:
        if not self._writes:
            return
        path = self._path(key)
        part = path.with_name(f"{key}.{os.getpid()}.part")
        tensors = {str(i): level for i, level in enumerate(entry)}
        content = save(tensors, {"crc32": _checksum(entry)})
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            part.write_bytes(content)
            part.replace(path)
        except OSError as error:
            self._writes = False
            _log.warning("No more features are kept in %s: %s", self.folder, error)
            with suppress(OSError):
                part.unlink(missing_ok=True)
            return
        self._bytes += len(content)
        if self._bytes > self.limit_bytes:
            self._evict()

    def _evict(self) -> None:
        """Remove what was not used for longest, down to nine tenths of the limit."""
        found = sorted(self._files(), key=lambda file: file[1].st_mtime)
        self._bytes = sum(stat.st_size for _, stat in found)
        for path, stat in found:
            if self._bytes <= 0.9 * self.limit_bytes:
                break
            with suppress(OSError):  # another process is reading it, or has removed it
                path.unlink()
                self._bytes -= stat.st_size

    def _files(self) -> Iterator[tuple[Path, os.stat_result]]:
        for path in self.folder.glob("*/*"):
            with suppress(OSError):  # another process has removed it
                yield path, path.stat()


def _key(weights: str, image: Tensor) -> str:
    digest = hashlib.sha256(f"{weights} {image.dtype} {tuple(image.shape)}".encode())
    digest.update(_bytes(image))
    return digest.hexdigest()


def _checksum(entry: list[Tensor]) -> str:
    checksum = 0
    for level in entry:
        checksum = zlib.crc32(_bytes(level), checksum)
    return str(checksum)


def _bytes(tensor: Tensor) -> memoryview:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data


def _laid_out(level: Tensor) -> Tensor:
    """Return a batch of maps in the memory layout in which convolutions are fast."""
    if level.ndim != 4:
        return level
    return level.contiguous(memory_format=memory_format(level.device))
