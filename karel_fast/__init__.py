"""Karel programs, fast and exact, and the experiment on what language models learn from their text.

    import karel_fast as kf
    program = kf.parse("def run() { while (front_is_clear()) { move() } }")
    result = kf.run(program, kf.Worlds.from_text(["#####\n#>..#\n#####"]))

The sub-packages `data`, `exact`, `model`, `training`, `probing` and `report`, `load` and the environments are imported when first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

from karel_fast.karel.backends import BackendUnavailableError, available_backends
from karel_fast.karel.execution import Result, Trace, check, run, trace
from karel_fast.karel.language import (
    Action,
    CompiledPrograms,
    Condition,
    Direction,
    If,
    IfElse,
    KarelSyntaxError,
    Program,
    Repeat,
    Semantics,
    While,
    compile,
    parse,
    to_source,
)
from karel_fast.karel.status import Status
from karel_fast.karel.world import Worlds
from karel_fast.support.version import VERSION

if TYPE_CHECKING:
    from karel_fast import data, exact, model, probing, report, training
    from karel_fast.karel.environments import KarelEnv as KarelEnv
    from karel_fast.karel.environments import KarelVectorEnv as KarelVectorEnv
    from karel_fast.probing.lab import load as load

__version__ = VERSION

_LAZY = ("data", "exact", "model", "probing", "report", "training")
_LAZY_NAMES = {
    "KarelEnv": "karel_fast.karel.environments",
    "KarelVectorEnv": "karel_fast.karel.environments",
    "load": "karel_fast.probing.lab",
}

__all__ = [
    "Action",
    "BackendUnavailableError",
    "CompiledPrograms",
    "Condition",
    "Direction",
    "If",
    "IfElse",
    "KarelEnv",
    "KarelSyntaxError",
    "KarelVectorEnv",
    "Program",
    "Repeat",
    "Result",
    "Semantics",
    "Status",
    "Trace",
    "While",
    "Worlds",
    "__version__",
    "available_backends",
    "check",
    "compile",
    "data",
    "exact",
    "load",
    "model",
    "parse",
    "probing",
    "report",
    "run",
    "to_source",
    "trace",
    "training",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return importlib.import_module(f"karel_fast.{name}")
    if name in _LAZY_NAMES:
        return getattr(importlib.import_module(_LAZY_NAMES[name]), name)
    raise AttributeError(f"module 'karel_fast' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY, *_LAZY_NAMES})
