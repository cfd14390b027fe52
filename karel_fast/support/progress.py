"""Progress bars on standard error; nothing where that is no terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


class Progress:
    """One or more bars below each other, shown inside `with`. unit: what is counted, for its rate (none: no rate)."""

    def __init__(self, console: Console | None = None, unit: str = "") -> None:
        import rich.console
        import rich.progress

        self.console = console or rich.console.Console(stderr=True)
        self.unit = unit
        self._shown = rich.progress.Progress(
            rich.progress.TextColumn("{task.description}", markup=False),
            rich.progress.BarColumn(),
            rich.progress.MofNCompleteColumn(),
            rich.progress.TimeRemainingColumn(),
            rich.progress.TextColumn("{task.fields[note]}", markup=False),
            console=self.console,
            disable=not self.console.is_terminal,
        )

    def __enter__(self) -> Progress:
        self._shown.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._shown.stop()

    def bar(self, description: str, total: int | None = None, note: str = "") -> Bar:
        """Add a bar; without a total it only moves."""
        return Bar(self, self._shown.add_task(description, total=total, note=note))


class Bar:
    """One bar of a `Progress`."""

    def __init__(self, progress: Progress, task: int) -> None:
        self._progress, self._task = progress, task

    def advance(self) -> None:
        """One more is done."""
        self._progress._shown.advance(self._task)  # type: ignore[arg-type]

    def show(
        self, done: int, total: int | None = None, description: str | None = None, note: str | None = None
    ) -> None:
        """So many are done; what is None stays as it was. Without a note, the rate where there is a unit."""
        shown = self._progress._shown
        task = shown.tasks[shown.task_ids.index(self._task)]  # type: ignore[arg-type]
        speed = task.finished_speed or task.speed
        if note is None and self._progress.unit and speed:
            note = f"{speed:,.0f} {self._progress.unit}/s"
        fields = {} if note is None else {"note": note}
        shown.update(self._task, completed=done, total=total, description=description, **fields)  # type: ignore[arg-type]
