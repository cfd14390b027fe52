"""Settings as dataclasses: each field written once, with its default and help, for Python, TOML files and the command line.

A settings class is a frozen dataclass whose fields are made by `setting`, or by `part` where the field is itself a settings
class. A table of a file and the options of a command take the fields of a class and of its parts side by side.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, Field
from types import NoneType, UnionType
from typing import Any, SupportsFloat, TypeVar, Union, get_args, get_origin, get_type_hints

from karel_fast.support.checks import InputError, nearest, real, whole

Kind = TypeVar("Kind", bound=type)


def setting(default: Any, help: str) -> Any:
    """A field with a default and one line of help; a mutable default is copied for every object."""
    metadata = {"help": help}
    if isinstance(default, dict):
        return dataclasses.field(default_factory=default.copy, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def bundle(default: str, help: str, values_of: Callable[[str], Mapping[str, Any]]) -> Any:
    """A setting that stands for values of others, its own class's or a part's, wherever those are not given themselves.

    values_of: flat names and values of a choice; ValueError for a choice it does not know.
    """
    return dataclasses.field(default=default, metadata={"help": help, "bundle": values_of})


def part(kind: type) -> Any:
    """A field that is a settings class of its own."""
    return dataclasses.field(default_factory=kind, metadata={"part": kind})


def named(kind: Kind) -> Kind:
    """Make a dataclass refuse an unknown name with the nearest one it has (TypeError), and fill in what a bundle stands for."""
    known = [field.name for field in dataclasses.fields(kind)]
    plain = kind.__init__  # type: ignore[misc]

    @functools.wraps(plain)
    def init(self: Any, *args: Any, **values: Any) -> None:
        for name in values:
            if name not in known:
                raise TypeError(f"{kind.__name__} has no setting {name!r}; {nearest(name, known)}")
        given = {**dict(zip(known, args, strict=False)), **values}
        filled = _bundled(kind, given)
        for field in dataclasses.fields(kind) if filled else ():
            if "part" in field.metadata and field.name not in given:
                own = {name: filled[name] for name in flat_fields(field.metadata["part"]) if name in filled}
                values[field.name] = _build(field.metadata["part"], own)
            elif field.name in filled:
                values[field.name] = filled[field.name]
        plain(self, *args, **values)

    kind.__init__ = init  # type: ignore[misc]
    return kind


def flat_fields(kind: type) -> dict[str, Field[Any]]:
    """The settings of a class and of its parts, by name; fields that are no settings are left out."""
    fields_by_name: dict[str, Field[Any]] = {}
    for field in dataclasses.fields(kind):
        inner = flat_fields(field.metadata["part"]) if "part" in field.metadata else {}
        if "help" in field.metadata:
            inner = {field.name: field}
        twice = fields_by_name.keys() & inner.keys()
        assert not twice, f"two settings of {kind.__name__} are called {twice}"
        fields_by_name |= inner
    return fields_by_name


def flat_types(kind: type) -> dict[str, Any]:
    """The type of each of `flat_fields`."""
    types_by_name = get_type_hints(kind)
    for field in dataclasses.fields(kind):
        if "part" in field.metadata:
            types_by_name |= flat_types(field.metadata["part"])
    return {name: types_by_name[name] for name in flat_fields(kind)}


def default_of(field: Field[Any]) -> Any:
    """A field's default value."""
    return field.default_factory() if field.default_factory is not MISSING else field.default


def build(kind: type, values: Mapping[str, Any], where: str) -> Any:
    """An object of a settings class from flat names. Lists become tuples.

    Raises InputError, naming `where`, for an unknown name, with the nearest one, and for a value that the class refuses.
    """
    if not isinstance(values, Mapping):
        raise InputError(f"{where}: must be a table of settings, got {values!r}")
    known = flat_fields(kind) or {field.name: field for field in dataclasses.fields(kind)}
    for name in values:
        if name not in known:
            raise InputError(f"{where}: unknown setting {name!r}; {nearest(name, known)}")
    types = flat_types(kind)
    for name, value in values.items():
        if name in types and not fits(types[name], value):
            raise InputError(f"{where}: {_misfit(types[name], name, value)}")
    try:
        given = {name: _tuples(value) for name, value in values.items()}
        return _build(kind, {**_bundled(kind, given), **given})
    except (ValueError, TypeError) as error:
        raise InputError(f"{where}: {error}") from error


def _bundled(kind: type, given: Mapping[str, Any]) -> dict[str, Any]:
    """What the bundles among a class's settings stand for, without the names that are given."""
    values: dict[str, Any] = {}
    for field in dataclasses.fields(kind):
        if "bundle" in field.metadata:
            values |= field.metadata["bundle"](given.get(field.name, field.default))
    return {name: value for name, value in values.items() if name not in given}


def _build(kind: type, values: Mapping[str, Any]) -> Any:
    arguments = {}
    for field in dataclasses.fields(kind):
        if "part" in field.metadata:
            inner = field.metadata["part"]
            own = {name: values[name] for name in flat_fields(inner) if name in values}
            arguments[field.name] = _build(inner, own)
        elif field.name in values:
            arguments[field.name] = values[field.name]
    return kind(**arguments)


def check_used(settings: Any, names: Sequence[str], needed: str) -> None:
    """Raise ValueError for a setting of `names` that is given although it decides nothing without the setting `needed`."""
    known = flat_fields(type(settings))
    for name in names:
        if getattr(settings, name) != default_of(known[name]):
            raise ValueError(f"{name} decides nothing without {needed}; give {needed}, or leave out {name}")


def keep_whole(settings: Any, names: Sequence[str], lowest: int, highest: int | None = None) -> None:
    """Check settings of an object that is being made, and keep them as plain ints; None stays where it is the default.

    Raises TypeError or ValueError as `whole`.
    """
    for name in names:
        value = getattr(settings, name)
        if value is not None or type(settings).__dataclass_fields__[name].default is not None:
            object.__setattr__(settings, name, whole(name, value, lowest, highest))


def keep_all_whole(settings: Any, names: Sequence[str], lowest: int, highest: int | None = None) -> None:
    """The same of settings that are lists: they are kept as tuples of plain ints."""
    for name in names:
        object.__setattr__(settings, name, whole_list(name, getattr(settings, name), lowest, highest))


def whole_list(name: str, values: object, lowest: int, highest: int | None = None) -> tuple[int, ...]:
    """A list of whole numbers as a tuple of plain ints. TypeError for what is no list; else as `whole`."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise TypeError(f"{name} is {values!r}; give a list of whole numbers")
    return tuple(whole(name, value, lowest, highest) for value in values)


def keep_real(settings: Any, names: Sequence[str], lowest: float, highest: float) -> None:
    """Check settings that are numbers, and keep them as plain floats; errors as `real`.

    A plain int stays one: results are found again by the text of their settings, in which 0 and 0.0 differ.
    """
    for name in names:
        value = getattr(settings, name)
        number = real(name, value, lowest, highest)
        object.__setattr__(settings, name, value if type(value) is int else number)


def to_json(settings: Any) -> dict[str, Any]:
    """The settings as JSON has them: lists for tuples, tables for parts and mappings."""
    return {name: plain(value) for name, value in dataclasses.asdict(settings).items()}


def plain(value: Any) -> Any:
    """A setting's value as JSON has it."""
    if isinstance(value, Mapping):
        return {key: plain(inner) for key, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, tuple | list) else value


def fits(kind: Any, value: Any) -> bool:
    """Whether a value is of a setting's type; True for types that only the class itself can judge."""
    origin, choices = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return any(fits(choice, value) for choice in choices)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return isinstance(value, list | tuple) or (
            isinstance(value, Mapping) and all(fits(choices[1], inner) for inner in value.values())
        )
    if origin is tuple or (isinstance(origin, type) and issubclass(origin, Sequence)):
        return isinstance(value, list | tuple) and all(fits(choices[0], inner) for inner in value)
    if kind is float:
        if isinstance(value, int):  # which may be too large to be asked whether it is NaN
            return not isinstance(value, bool)
        return isinstance(value, SupportsFloat) and not isinstance(value, str) and not math.isnan(value)
    if kind is int:
        return hasattr(value, "__index__") and not isinstance(value, bool)
    return isinstance(value, kind) if kind in (bool, str, NoneType) else True


def _misfit(kind: Any, name: str, value: Any) -> str:
    """What a value that does not fit is, and should be; of a table, the setting in it."""
    if isinstance(value, Mapping) and isinstance(get_origin(kind), type) and issubclass(get_origin(kind), Mapping):
        kind = get_args(kind)[1]
        name, value = next((f"{name}.{key}", inner) for key, inner in value.items() if not fits(kind, inner))
    return f"{name} is {value!r}; give {described(kind)}"


def described(kind: Any) -> str:
    """A setting's type in words."""
    origin, choices = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return " or ".join(described(choice) for choice in choices)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return "a table of settings"
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return {int: "a list of whole numbers", float: "a list of numbers"}.get(choices[0], "a list")
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "text", NoneType: "nothing"}
    return words.get(kind, "another value")


def _tuples(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _tuples(inner) for key, inner in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
