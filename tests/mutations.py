"""Damage to files and values, always the same for a seed: what tests/test_mutations.py does to every kind of file."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TIMES = int(os.environ.get("KAREL_FAST_MUTATIONS", "1"))
"""How many times as many mutations as CI tries: a long campaign sets it."""

HOSTILE: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 7, 2**31, 2**63, 10**40, 0.5, -0.0, 1e308, "", "x", "../x", "7", "\ud800", "\u202e", [], [[]], [1, "a"],
    {}, {"x": 1}, {"": None}, [None] * 3, ["x"] * 50, "mean", "train",
)  # fmt: skip
"""Values to stand where another was meant."""


def mutated_bytes(content: bytes, count: int, seed: int = 0) -> Iterator[bytes]:
    """The content with up to three places changed, cut out, doubled, overwritten or cut short."""
    dice = random.Random(seed)
    for _ in range(count * TIMES):
        made = bytearray(content)
        for _ in range(dice.choice((1, 1, 1, 2, 3))):
            at, length = dice.randrange(len(made) + 1), dice.choice((1, 1, 2, 4, 8, 40))
            kind = dice.randrange(7)
            if kind == 0 and at < len(made):
                made[at] ^= 1 << dice.randrange(8)
            elif kind == 1:
                made[at : at + length] = dice.randbytes(length)
            elif kind == 2:
                del made[at : at + length]
            elif kind == 3:
                made[at:at] = made[at : at + length]
            elif kind == 4:
                made[at:at] = dice.randbytes(length)
            elif kind == 5:
                made[at : at + length] = dice.choice((b"\0", b"\xff", b"9", b'"', b"[", b"}")) * length
            elif dice.random() < 0.3:
                del made[at:]
        yield bytes(made)


def mutated_value(value: Any, count: int, seed: int = 0) -> Iterator[Any]:
    """A JSON value with one to three of its parts replaced by something hostile, removed or renamed."""
    dice = random.Random(seed)
    for _ in range(count * TIMES):
        made = json.loads(json.dumps(value))
        for _ in range(dice.choice((1, 1, 2, 3))):
            if not (isinstance(made, dict | list) and made):
                break
            _change(made, dice)
        yield made


def _change(value: Any, dice: random.Random) -> None:
    """Change one part of a JSON object or list, at any depth."""
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    key = dice.choice(keys)
    if isinstance(value[key], dict | list) and value[key] and dice.random() < 0.7:
        _change(value[key], dice)
    elif dice.random() < 0.15:
        del value[key]
    elif isinstance(value, dict) and dice.random() < 0.1:
        value[str(key) + "_"] = value.pop(key)
    else:
        value[key] = dice.choice(HOSTILE)


class Kept:
    """A file that is given back as it was, however it was changed meanwhile."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> bytes:
        self.content = self.path.read_bytes()
        return self.content

    def __exit__(self, *_: object) -> None:
        self.path.write_bytes(self.content)
