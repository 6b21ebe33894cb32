"""What ``napari-nucleus segment`` says: a bar and a line for every image, a table of failures."""

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.table import Table

from napari_nucleus.cli.app import complain
from napari_nucleus.cli.console import err, progress, say
from napari_nucleus.nucleus_types import UNTYPED

if TYPE_CHECKING:
    from napari_nucleus.inference import Progress
    from napari_nucleus.inference.batch import Outcome
    from napari_nucleus.slides import Slide

_NAMED = 5
"""Skipped files that a message names."""


class SegmentReport:
    """Called with every step of `segment_many`.

    Attributes
    ----------
    done, failed : list of dict of str to Any
        An entry for every image, as ``--json`` has it.
    """

    def __init__(self, ctx: typer.Context, images: int, quiet: bool) -> None:
        self.done: list[dict[str, Any]] = []
        self.failed: list[dict[str, Any]] = []
        self._ctx, self._images, self._quiet = ctx, images, quiet
        self._bar = ExitStack()
        self._image = Path()
        self._tiles: Progress | None = None

    def __enter__(self) -> "SegmentReport":
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()

    def __call__(self, step: "Path | Progress | Outcome") -> None:
        from napari_nucleus.inference.batch import Outcome

        if isinstance(step, Path):
            self._image, self._tiles = step, None
            self._update = self._bar.enter_context(progress(step.name))
        elif isinstance(step, Outcome):
            self._bar.close()
            if step.error is not None:
                self.fail(step.image, step.error)
            else:
                self._finish(step)
        else:
            self._go_on(step)

    def fail(self, image: Path, error: Exception) -> None:
        """Say why an image, or a folder of them, is not segmented."""
        self.failed.append({"image": image, "error": complain(error, self._ctx)})

    def kept(self) -> str:
        """Return what is kept after Ctrl+C."""
        counted = f"{len(self.done)} of {self._images} images are segmented"
        tiles = self._tiles
        if tiles is None or not tiles.done:
            return f"{counted} and kept, nothing of {self._image.name} is."
        return (
            f"{counted}, and {tiles.done} of {tiles.total} tiles of {self._image.name} are kept: "
            "the same command goes on from there."
        )

    def table(self) -> Table:
        """Return what failed and why."""
        table = Table("failed", "why")
        for entry in self.failed:
            table.add_row(str(entry["image"]), entry["error"])
        return table

    def _go_on(self, step: "Progress") -> None:
        was, self._tiles = self._tiles, step
        is_new = step.done > step.kept or step.done == step.total
        if step.kept and is_new and (was is None or was.done <= was.kept < was.total):
            err.print(f"Going on: {step.kept} of {step.total} tiles were there.")
        self._update(step.done, step.total, f"{step.nuclei:,} nuclei")

    def _finish(self, outcome: "Outcome") -> None:
        assert outcome.result is not None
        run = outcome.result.run
        stages = {name: value for name, value in run["seconds"].items() if name != "total"}
        work = sum(stages.values()) or 1.0
        shares = {name: value / work for name, value in stages.items()}
        entry = {
            "image": outcome.image,
            "result": outcome.result.path,
            "csv": outcome.csv,
            "was_finished": outcome.was_finished,
            "reason": outcome.reason,
            "counts": run["counts"],
            "tissue": run.get("tissue"),
            "seconds": round(outcome.seconds, 1),
            "stages": {
                name: {"seconds": value, "share": round(shares[name], 3)}
                for name, value in stages.items()
            },
        }
        self.done.append(entry)
        if self._quiet:
            return
        paths = f"{entry['result']}, {entry['csv']}"
        if outcome.was_finished:
            say(f"{outcome.image.name}: is segmented already, {_counted(run['counts'])}. {paths}")
            return
        told = [f"{entry['seconds']} s", f"{run.get('tissue', 1):.0%} tissue"]
        told += [f"{name} {share:.0%}" for name, share in shares.items()]
        why = f" ({outcome.reason})" if outcome.reason else ""
        say(f"{outcome.image.name}: {_counted(run['counts'])} in {', '.join(told)}. {paths}{why}")


def tell_skipped(skipped: list[Path]) -> None:
    """Say which files are not images."""
    names = ", ".join(path.name for path in skipped[:_NAMED])
    more = f" and {len(skipped) - _NAMED} more" if len(skipped) > _NAMED else ""
    err.print(f"Skipped, hidden or not an image: {names}{more}.", soft_wrap=True)


def tell_scenes(slide: "Slide") -> None:
    """Say which of several images in a file is taken."""
    names = slide.scenes.names
    if len(names) > 1:
        listed = ", ".join(f"{number} {name}" for number, name in enumerate(names))
        taken = f"{names[slide.scenes.chosen]} is taken, --scene takes another"
        err.print(f"{slide.name} has {listed}: {taken}.", soft_wrap=True)


def _counted(counts: dict[str, int]) -> str:
    """Return the counts in words."""
    types = {name: count for name, count in counts.items() if name not in ("nuclei", UNTYPED)}
    if not counts["nuclei"]:
        return "no nuclei found"
    listed = ", ".join(f"{count:,} {name}" for name, count in types.items())
    return f"{counts['nuclei']:,} nuclei ({listed})" if listed else f"{counts['nuclei']:,} nuclei"
