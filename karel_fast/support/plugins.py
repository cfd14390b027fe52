"""Python files of one's own, run before a command does its work: what they define is then there by name."""

from __future__ import annotations

import linecache
import sys
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from karel_fast.support.checks import InputError
from karel_fast.support.files import read_text


@dataclass(frozen=True)
class Plugin:
    """A file that was run: its path, and its text as it was then, so that another process, elsewhere, can run the same."""

    path: str
    text: str


_LOADED: dict[str, Plugin] = {}


def load_plugins(paths: Iterable[str | Path]) -> None:
    """Run each file, in order. A file that was run already, and is the same, is not run again.

    Raises InputError, naming file and line, for one that is no Python or that fails; OSError for one that cannot be read.
    """
    for path in paths:
        if Path(path).suffix != ".py":
            raise InputError(f"--plugin {path}: give a Python file, one whose name ends in .py")
        run_plugins([Plugin(str(Path(path).absolute()), read_text(Path(path)))])


def loaded_plugins() -> list[Plugin]:
    """What was run in this process: for tasks of a cluster, see `run_plugins`."""
    return list(_LOADED.values())


def is_plugin(path: str) -> bool:
    """Whether the file of this path was, or is being, run as a plugin."""
    return path in _LOADED


def run_plugins(plugins: Iterable[Plugin]) -> None:
    """`load_plugins` of texts that are known already: the files need not be there."""
    for plugin in plugins:
        if _LOADED.get(plugin.path) != plugin:
            _run(plugin)


def _run(plugin: Plugin) -> None:
    module = ModuleType(f"karel_fast_plugin_{Path(plugin.path).stem}")
    module.__file__ = plugin.path
    # Tracebacks, and `inspect`, find the lines here even where the file is not.
    linecache.cache[plugin.path] = (len(plugin.text), None, plugin.text.splitlines(keepends=True), plugin.path)
    earlier = _LOADED.get(plugin.path)
    _LOADED[plugin.path] = plugin
    sys.modules[module.__name__] = module  # dataclasses and pickle look for it
    try:
        exec(compile(plugin.text, plugin.path, "exec"), module.__dict__)
    except (Exception, SystemExit) as error:
        # A file that ends the process would end the command, and look like success.
        del sys.modules[module.__name__]
        if earlier is None:
            del _LOADED[plugin.path]
        else:
            _LOADED[plugin.path] = earlier
        raise InputError(f"{where_it_failed(error, plugin.path)}: {type(error).__name__}: {_said(error)}") from error


def where_it_failed(error: BaseException, path: str) -> str:
    """The file and the last of its lines that an error came through."""
    if isinstance(error, SyntaxError) and error.filename == path:
        return f"{path}, line {error.lineno}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
    return f"{path}, line {lines[-1]}" if lines else path


def _said(error: Exception | SystemExit) -> str:
    return error.msg if isinstance(error, SyntaxError) else str(error)
