"""Results of one kind and different settings, side by side: nothing that was found is replaced by something else.

    RUN/probing/step-000100.json                      the run's own
    RUN/probing/settings-1a2b3c4d/step-000100.json    of other settings, under a hash of them

What stands directly in a kind's folder is alike, so that its snapshots can be compared: figures are drawn from it. The first
settings to come are the run's own; those of a preset are, whenever they come. Results of weights that a snapshot no longer has
are replaced where they stand.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from karel_fast.runs.folder import RunFolder, step_of
from karel_fast.runs.snapshots import snapshot_path, weights_digest
from karel_fast.support.files import read_json_if_whole

EXTRAS = {
    "untrained",
    "initialisations",
    "examples",
    "ideal",
    "pieces",
    "shuffled",
    "control_task",
    "text",
    "free",
    "search",
}
"""Settings that add to what is found and change nothing of the rest: snapshots that differ in these are alike."""


def settings_name(identity: Mapping[str, Any]) -> str:
    """`settings-1a2b3c4d`: the folder of some settings."""
    return "settings-" + hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:8]


def home(folder: RunFolder, kind: str, step: int, identity: Mapping[str, Any]) -> str:
    """Where results of these settings go: `kind`, or KIND/settings-HASH; for `RunFolder.file` and its like.

    identity: the fields of a file that say what it was made with, weights aside (JSON values).
    """
    identity = json.loads(json.dumps(identity))
    there = _kept(folder, kind, step)
    if there is not None:
        alike = _of(there, identity) == identity
    else:
        elsewhere = _another(folder, kind, step)
        alike = elsewhere is None or _core(elsewhere, identity) == _core(identity, identity)
    return kind if alike else f"{kind}/{settings_name(identity)}"


def examples_place(place: str, kind: str) -> str:
    """Where the examples of results go that go to `place`, a folder of the kind; probes of all kinds show theirs in RUN/examples."""
    return place.replace(kind, "examples", 1)


def make_room(folder: RunFolder, kind: str, step: int, identity: Mapping[str, Any], *, examples: bool = False) -> None:
    """Move aside what stands in the place of the run's own settings, which are these, and was made with others.

    examples: results of this kind have examples beside them, which go along once the results are whole.
    """
    identity = json.loads(json.dumps(identity))
    there = _kept(folder, kind, step)
    if there is None or _of(there, identity) == identity:
        return
    aside = f"{kind}/{settings_name(_of(there, identity))}"
    moves = [(name(kind, step), name(aside, step)) for name in (folder.pieces, folder.sums, folder.probes)]
    if examples and folder.file(kind, step).exists():
        moves.append((folder.file("examples", step), folder.file(examples_place(aside, kind), step)))
    # The JSON file last: it is what says that the others are there.
    for source, target in (*moves, (folder.file(kind, step), folder.file(aside, step))):
        if source.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(source, target)


def _kept(folder: RunFolder, kind: str, step: int) -> dict[str, Any] | None:
    """What stands in the run's own folder at a step, or has been begun there; None for nothing, or results of weights that are no more."""
    found = read_json_if_whole(folder.file(kind, step)) or _begun(folder.pieces(kind, step))
    if found is None or "weights" not in found:
        return found
    snapshot = snapshot_path(folder.path, step)
    gone = snapshot.is_dir() and weights_digest(snapshot) != found["weights"]
    return None if gone else found


def _begun(pieces: Path) -> dict[str, Any] | None:
    """What the pieces of an unfinished grid were made with."""
    paths = sorted(pieces.glob("*.json")) if pieces.is_dir() else []
    found = next((value for path in paths if (value := read_json_if_whole(path)) is not None), None)
    return None if found is None else found.get("identity", found)


def _another(folder: RunFolder, kind: str, step: int) -> dict[str, Any] | None:
    """What stands there at some other step."""
    paths = sorted((folder.path / kind).glob("step-*.json"))
    steps = (found for path in paths if (found := step_of(path.stem)) is not None and found != step)
    return next((kept for other in steps if (kept := _kept(folder, kind, other)) is not None), None)


def _of(found: Mapping[str, Any], identity: Mapping[str, Any]) -> dict[str, Any]:
    return {name: found.get(name) for name in identity}


def _core(found: Mapping[str, Any], identity: Mapping[str, Any]) -> Any:
    def without(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {name: without(inner) for name, inner in value.items() if name not in EXTRAS}
        return value

    return without(_of(found, identity))
