"""Names that a package offers and loads when they are first used, so that importing it stays quick."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any


def lazy(package: str, home: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """The `__getattr__` and `__dir__` of a package whose name `n` is defined in its module `home[n]`."""

    def getattr_(name: str) -> Any:
        if name not in home:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        try:
            value = getattr(importlib.import_module(f"{package}.{home[name]}"), name)
        except ModuleNotFoundError as error:
            if error.name is None or error.name.startswith("karel_fast"):
                raise
            missing = error.name.partition(".")[0]
            raise ModuleNotFoundError(
                f"{package}.{name} needs the package {missing}, which is not installed: pip install {missing}",
                name=missing,
            ) from error
        setattr(sys.modules[package], name, value)
        return value

    def dir_() -> list[str]:
        return sorted({*vars(sys.modules[package]), *home})

    return getattr_, dir_
