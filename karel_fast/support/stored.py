"""Pieces of a long computation kept as JSON files, so that a killed call loses one piece and the same call goes on."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from karel_fast.support.files import read_json_if_whole, write_json

_IDENTITY = "identity"


def stored(path: Path, identity: Mapping[str, Any], make: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
    """What the file at `path` holds if it was made for this `identity` (JSON values); else make(), which is written there."""
    wanted = json.loads(json.dumps(identity))
    found = read_json_if_whole(path)
    if found is None or found.get(_IDENTITY) != wanted:
        found = json.loads(json.dumps({_IDENTITY: wanted, **make()}))  # as the file will be read
        write_json(path, found)
    return {key: value for key, value in found.items() if key != _IDENTITY}
