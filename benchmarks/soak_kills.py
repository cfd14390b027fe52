"""Commands killed with SIGKILL at random moments and gone on with, for soak.py."""

from __future__ import annotations

import hashlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from karel_fast.support.checks import nearest
from karel_fast.support.progress import Progress


@dataclass(frozen=True)
class Work:
    """A command that leaves files in a folder. share: of all kills. same: the files that are alike every time, as patterns.
    again: what it is called with after the first time, if `goes_on`, a file, is there. after: the work whose folder it begins with.
    """

    name: str
    share: float
    arguments: tuple[str, ...]
    same: tuple[str, ...]
    folder: tuple[str, ...] = ()  # the option before the folder; none: it is an argument
    again: tuple[str, ...] = ()
    goes_on: str = ""
    after: str = ""

    def command(self, folder: Path) -> list[str]:
        more = self.again if self.goes_on and (folder / self.goes_on).exists() else ()
        return [sys.executable, "-m", "karel_fast", *self.arguments, *self.folder, str(folder), *more]


WORKS = (
    Work(
        "generate", 0.3, ("generate", "--recipe", "paper", "--count", "200000", "--shard-size", "10000"),
        same=("*.parquet",), folder=("--out",),
    ),
    Work(
        "solve-samples", 0.15, ("solve-samples", "--recipe", "paper", "--count", "4000", "--shard-size", "200"),
        same=("*.parquet",), folder=("--out",),
    ),
    Work(
        "train", 0.2,
        ("train", "--recipe", "paper-short", "--layers", "1", "--width", "32", "--steps", "60", "--snapshot-every", "20",
         "--log-every", "5", "--batch-size", "8", "--no-compile", "--precision", "fp32", "--device", "cpu"),
        same=("snapshots/*/model.safetensors",), again=("--resume",), goes_on="resume.safetensors",
    ),
    Work(
        "probe", 0.2,
        ("probe", "--programs", "train=60,validation=20,test=20", "--features", "direction", "--depths", "linear",
         "--offsets", "0,1", "--seeds", "0,1", "--least-steps", "20", "--epochs", "1", "--no-compile-decoding",
         "--precision", "fp32", "--device", "cpu"),
        same=("probing/*.json", "probing/*.npz", "examples/*.json", "tables/*/*/*/*.npy"), after="train",
    ),
    Work("report", 0.15, ("report",), same=("report/report.html", "report/results.json", "report/figures/*"), after="probe"),
)  # fmt: skip


PATIENCE = 1.1
"""Each time that a command is killed the next moment may be so many times as late, so that it ends on a machine grown busier."""


def kills(
    count: Annotated[int, typer.Option(help="Commands killed.")] = 200,
    seed: Annotated[int, typer.Option(help="Of the moments.")] = 0,
    only: Annotated[str | None, typer.Option(help="Kill this command alone, of those that are killed: probe.")] = None,
) -> None:
    """Kill commands with SIGKILL at random moments, go on, and compare what is there at the end with what an undisturbed call leaves."""
    names = [work.name for work in WORKS]
    if only is not None and only not in names:
        raise typer.BadParameter(f"is {only!r}; {nearest(only, names)}", param_hint="--only")
    shares = {work.name: work.share for work in WORKS} if only is None else {only: 1.0}
    wanted_by_name = {name: round(shares.get(name, 0.0) * count) for name in names}
    if not any(wanted > 0 for wanted in wanted_by_name.values()):
        typer.echo(f"--count {count}: no command's share of it is a whole kill; give more, or --only one", err=True)
        raise typer.Exit(1)
    dice = random.Random(seed)
    figures = []
    with tempfile.TemporaryDirectory() as place, Progress() as progress:
        undisturbed: dict[str, Path] = {}
        for work in WORKS:
            wanted = wanted_by_name[work.name]
            folder = undisturbed[work.name] = _begin(work, Path(place) / work.name / "run", undisturbed)
            start = time.perf_counter()
            _call(work, folder, None)
            seconds, right = time.perf_counter() - start, _digest(work, folder)
            killed = attempt = 0
            bar = progress.bar(work.name, wanted)
            while killed < wanted:
                attempt += 1
                # A report names its run, so that all attempts are called the same.
                folder = _begin(work, Path(place) / f"{work.name}-{attempt}" / "run", undisturbed)
                patience = seconds
                while not _call(work, folder, dice.uniform(0.2, 1.1) * patience):
                    killed += 1
                    patience *= PATIENCE
                    bar.show(min(killed, wanted), wanted)
                if _digest(work, folder) != right:
                    kept = shutil.copytree(folder, tempfile.mkdtemp(prefix=f"{work.name}-"), dirs_exist_ok=True)
                    typer.echo(
                        f"{work.name}, attempt {attempt}: other files than an undisturbed call's, see {kept}", err=True
                    )
                    raise typer.Exit(1)
                if left := sorted(path.name for path in folder.rglob("*.tmp")):
                    typer.echo(f"{work.name}, attempt {attempt}: {left} are left half-written", err=True)
                    raise typer.Exit(1)
                shutil.rmtree(folder)
            figures.append(f"{work.name} {killed} in {attempt} folders")
            if work.name == only:
                break
    typer.echo(f"killed: {'; '.join(figures)}; each ended with the files of an undisturbed call")


def _begin(work: Work, folder: Path, undisturbed: dict[str, Path]) -> Path:
    """The folder, with what must be there before the command is called."""
    folder.parent.mkdir()
    if work.after:
        shutil.copytree(undisturbed[work.after], folder)
    return folder


def _call(work: Work, folder: Path, seconds: float | None) -> bool:
    """Whether the command came to its end within so many seconds; else it was killed."""
    command = work.command(folder)
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        _, errors = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.communicate()
        return False
    if process.returncode:
        typer.echo(f"{' '.join(command)}: exit code {process.returncode}\n{errors}", err=True)
        raise typer.Exit(1)
    return True


def _digest(work: Work, folder: Path) -> str:
    """Of everything that is the same every time: data, weights, results, and not times or logs."""
    found = hashlib.sha256()
    paths = sorted(path for pattern in work.same for path in folder.glob(pattern))
    if not paths:
        raise FileNotFoundError(f"{folder} has nothing of {work.same}")
    for path in paths:
        found.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    return found.hexdigest()
