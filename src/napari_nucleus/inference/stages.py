"""How long the stages of a run were busy."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import Lock


class Stages:
    """Seconds by stage. Stages overlap, so that they may add up to more than the whole.

    Attributes
    ----------
    seconds : dict of str to float
        By name: ``reading``, ``network``, ``nuclei`` (finding and measuring), ``writing`` (tiles)
        and ``joining`` (of tiles to a result).
    """

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(("reading", "network", "nuclei", "writing", "joining"), 0.0)
        self._lock = Lock()

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Add the time of a block to a stage.

        Parameters
        ----------
        stage : str
            Its name.
        """
        started = time.perf_counter()
        try:
            yield
        finally:
            self.add({stage: time.perf_counter() - started})

    def add(self, seconds: Mapping[str, float]) -> None:
        """Add times of stages.

        Parameters
        ----------
        seconds : mapping of str to float
            Seconds by stage.
        """
        with self._lock:
            for stage, taken in seconds.items():
                self.seconds[stage] += taken
