"""Options of a command from the fields of settings classes: same names, defaults and help, and so written once.

On the command line a list is `a,b`, a mapping `name=value,name=value`, and a list inside a mapping `1+2`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import typer

from karel_fast.cli.numbers import decimal_option, whole_count, whole_option
from karel_fast.support.checks import InputError, distinct, one_of
from karel_fast.support.plugins import load_plugins
from karel_fast.support.settings import build, default_of, flat_fields, flat_types

_CONTEXT = "context"
PLAIN = (bool, int, float, str)
SEMANTICS_HELP = "What the actions do: original, flip, adversarial, map0..map11, or move>turn_left+turn_left>move."
LAYOUT_HELP = "compact, rows (a token for a row of a world), row-pairs (for two), or reference (the original's text)"
COMPILING = ("compile", "compile_decoding")
"""Settings that are given up with a warning where nothing can be compiled, unless they were asked for by name."""


def _load(paths: list[Path] | None) -> list[Path] | None:
    load_plugins(paths or ())
    return paths


OtherSettings = Annotated[
    list[str] | None,
    typer.Option(
        "--settings",
        help="Read results of these settings (settings-1a2b3c4d) where a run has some; may be repeated.",
    ),
]
Plugins = Annotated[
    list[Path] | None,
    typer.Option(
        "--plugin",
        help="Python file to run before all else, with features or layouts of your own; may be repeated.",
        callback=_load,
        is_eager=True,
    ),
]
"""Read before other options, whose values may name what a plugin defines."""


Backend = Annotated[str | None, typer.Option(help="cpp, numba or reference; by default the best available.")]
Threads = Annotated[int | None, whole_option("By default one per processor.")]
Engine = Annotated[str, typer.Option(help="local, or ray for a cluster.")]
Address = Annotated[str | None, typer.Option(help="Of the Ray cluster; without one a local Ray starts.")]


def check_engine(engine: str, address: str | None) -> None:
    """Raise ValueError for an engine that there is not, or an address without Ray."""
    one_of("--engine", engine, ("local", "ray"))
    if address is not None and engine != "ray":
        raise InputError("--address is a Ray cluster's: give --engine ray too")


def with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command one option per setting for every parameter whose type is a settings class."""
    hints = get_type_hints(command, include_extras=True)
    parameters: list[inspect.Parameter] = []
    kinds = {name: kind for name, kind in hints.items() if inspect.isclass(kind) and is_dataclass(kind)}
    for parameter in inspect.signature(command).parameters.values():
        if parameter.name in kinds:
            parameters += _options(kinds[parameter.name])
        else:
            parameters.append(parameter.replace(annotation=hints[parameter.name], kind=inspect.Parameter.KEYWORD_ONLY))
    parameters.append(inspect.Parameter(_CONTEXT, inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context))
    where = command.__name__.removesuffix("_command")

    @functools.wraps(command)
    def run(**given: Any) -> None:
        source_of = given.pop(_CONTEXT).get_parameter_source
        if any(given.get(name) and source_of(name).name == "COMMANDLINE" for name in COMPILING):
            from karel_fast.model.compiling import require_compiling

            require_compiling()
        for parameter, kind in kinds.items():
            types = flat_types(kind)
            texts = {name: given.pop(name) for name in flat_fields(kind)}
            # A default is left out: what is given wins over what another option stands for.
            values = {
                name: from_text(name, types[name], text)
                for name, text in texts.items()
                if source_of(name).name != "DEFAULT"
            }
            given[parameter] = build(kind, values, where)
        command(**given)

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def _options(kind: type) -> list[inspect.Parameter]:
    types = flat_types(kind)
    return [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=_shown(types[name], default_of(field)),
            annotation=_option(types[name], help=field.metadata["help"], rich_help_panel=_title(kind)),
        )
        for name, field in flat_fields(kind).items()
    ]


def _title(kind: type) -> str:
    words = "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in kind.__name__).split()
    return " ".join(word for word in words if word != "config").capitalize()


def _option(kind: Any, **more: Any) -> Any:
    """What typer reads: the type itself where it is a plain one, text where it is more than that."""
    plain, optional = _without_none(kind)
    read = plain if plain in PLAIN else str
    option = {int: whole_option, float: decimal_option}.get(read, typer.Option)
    return Annotated[read | None if optional else read, option(**more)]


def _without_none(kind: Any) -> tuple[Any, bool]:
    choices = get_args(kind)
    if type(None) in choices and len(choices) == 2:
        return next(choice for choice in choices if choice is not type(None)), True
    return kind, False


def _is_text(kind: Any) -> bool:
    plain, _ = _without_none(kind)
    return plain in PLAIN or get_origin(plain) is Literal


def _shown(kind: Any, value: Any) -> Any:
    return value if _is_text(kind) else to_text(value)


def as_options(kind: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """What to give for the options of a settings class so that it gets these values, by flat names as JSON has them. Names that it
    has not, and None, are left out.
    """
    types = flat_types(kind)
    known = {name: value for name, value in values.items() if name in types and value is not None}
    return {name: _shown(types[name], tuple(v) if isinstance(v, list) else v) for name, v in known.items()}


def to_text(value: Any) -> str:
    """A list or mapping as the command line writes it; `from_text` reads it."""
    if isinstance(value, Mapping):
        return ",".join(f"{key}={'+'.join(map(str, v)) if isinstance(v, tuple) else v}" for key, v in value.items())
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def from_text(name: str, kind: Any, text: Any) -> Any:
    """The value of an option. Raises InputError, naming the option, for what is no list or mapping of its type."""
    if _is_text(kind):
        return text
    parts = [part.strip() for part in text.split(",") if part.strip()]
    option = "--" + name.replace("_", "-")
    distinct(option, (part.partition("=")[0] for part in parts if "=" in part))
    try:
        if get_origin(kind) is get_origin(Mapping[str, int]):
            if parts and all("=" not in part for part in parts):
                return tuple(parts)
            pairs = dict(part.split("=", 1) for part in parts)
            if get_args(kind)[1] is int:
                return {key: whole_count(value) for key, value in pairs.items()}
            return {key: _whole_numbers(value.split("+")) for key, value in pairs.items()}
        if get_origin(kind) is tuple:
            return tuple(parts) if get_args(kind)[0] is str else _whole_numbers(parts)
        try:
            return _whole_numbers(parts)
        except InputError:
            if len(parts) > 1:
                raise
            return text  # a word
    except ValueError as error:
        raise InputError(f"{option} {text!r} cannot be read: give a value like {_example(kind)}") from error


def _whole_numbers(parts: list[str]) -> tuple[int, ...]:
    return tuple(whole_count(part) for part in parts if part)


def _example(kind: Any) -> str:
    if get_origin(kind) is get_origin(Mapping[str, int]):
        return "train=1,test=2" if get_args(kind)[1] is int else "train=0+1,test=2"
    return "comma-separated integers, as in 0,1"
