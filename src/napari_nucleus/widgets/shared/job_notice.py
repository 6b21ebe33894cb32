"""A long job as napari shows it: in the activity dock, and with a notice when it has ended."""

from time import monotonic

from napari.utils import progress
from napari.utils.notifications import show_info

# Seconds after which the user may be looking elsewhere.
_LONG = 10.0


class JobNotice:
    """Shows a job in napari's activity dock and tells how long it takes.

    Parameters
    ----------
    title : str
        What the job does.
    """

    def __init__(self, title: str) -> None:
        self._started = monotonic()
        self._counted: tuple[float, int] | None = None
        self._bar = progress(total=0, desc=title)

    def update(self, done: int, total: int) -> str:
        """Show what is done.

        Parameters
        ----------
        done, total : int
            Steps done, and in all; the first call starts the clock.

        Returns
        -------
        str
            Time left, such as "about 2 min 10 s left"; empty while unknown, and at the end.
        """
        if self._bar.total != total:
            self._bar.total = total
        self._bar.update(done - self._bar.n)
        now = monotonic()
        if self._counted is None:
            self._counted = now, done
        started, first = self._counted
        if done == first or done >= total:
            return ""
        return f"about {duration((now - started) / (done - first) * (total - done))} left"

    def notify(self, line: str) -> None:
        """Show a notification of how a long job has ended."""
        if monotonic() - self._started > _LONG:
            show_info(line)

    def close(self) -> None:
        """Remove the job from the activity dock."""
        self._bar.close()


def duration(seconds: float) -> str:
    """Return a duration as "2 min 10 s"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
