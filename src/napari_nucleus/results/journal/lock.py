"""One window at a time corrects a result."""

from pathlib import Path

from filelock import FileLock, Timeout


def try_lock(folder: Path) -> FileLock | None:
    """Take the lock on a result folder; None where another window or process has it.

    It is the operating system's: it goes with the process that holds it, however that ends.

    Parameters
    ----------
    folder : Path
        The result folder.

    Raises
    ------
    OSError
        If the folder cannot be written to.
    """
    # Not bound to a thread: a worker may open what the window closes.
    lock = FileLock(folder / "edits.lock", thread_local=False)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return None
    return lock


def is_locked(folder: Path) -> bool:
    """Tell whether a result is being corrected.

    Parameters
    ----------
    folder : Path
        The result folder.
    """
    if not (folder / "edits.lock").exists():
        return False
    lock = try_lock(folder)
    if lock is None:
        return True
    lock.release()
    return False
