"""A recipe names every choice behind a data set; with a split and an index it determines a sample completely.

Probabilities become exact integer thresholds on 16-bit draws, so what is documented is what is drawn:

    wall_threshold    = round(65536 * wall_probability)                   an interior cell is a wall if v < it,
    marker_threshold  = round((65536 - wall_threshold) * marker_probability)
                                                       else it holds one marker if v < wall_threshold + marker_threshold

For the paper (0.1 and 0.1) these are 6554 and 5898: a wall with probability 6554/65536 = 0.100006, and a marker on
5898/58982 = 0.099997 of the other cells. `Recipe.exact_probabilities` gives them as fractions for any recipe.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal, get_args

import numpy as np

from karel_fast.data.sampling.extent import Costs, longest_program, symbol_costs
from karel_fast.data.sampling.symbols import MAX_COUNT
from karel_fast.karel.language import NAMED_SEMANTICS, Semantics, resolve_semantics
from karel_fast.karel.language.vocabulary import ACTION_NAMES, CONDITION_NAMES
from karel_fast.support.checks import nearest, real, whole
from karel_fast.support.files import parse_json

Split = Literal["train", "val", "test"]
SPLITS: tuple[str, ...] = get_args(Split)
MAX_LENGTH = 200
LEAST_STEP_LIMIT = 1000
# Words that were added to the vocabulary later weigh nothing unless a recipe says so.
ACTION_WEIGHTS = (5, 3, 3, 2, 2) + (0,) * (len(ACTION_NAMES) - 5)
CONDITION_WEIGHTS = (1, 1, 1, 1, 1) + (0,) * (len(CONDITION_NAMES) - 5)
_FIRST_WORDS = 5


@dataclass(frozen=True, slots=True)
class ControlFlow:
    """The bounded grammar that control-flow programs are drawn from. Every weight is an integer.

    At each place a statement is drawn with the recipe's action weights and these statement weights; those that do not
    fit in the statements left, or in the depth left, weigh nothing there. A block statement counts as one statement
    plus those of its bodies. Of r statements left after it, `if`, `while` and `repeat` take 1..r uniformly for their
    body; `ifelse` takes 1..r-1 for its first body, then 1..rest for its second.
    """

    if_weight: int = 1
    ifelse_weight: int = 1
    while_weight: int = 0
    repeat_weight: int = 0
    condition_weights: tuple[int, ...] = CONDITION_WEIGHTS  # in the order of `Condition`
    negate: bool = True  # each condition is negated with probability 1/2
    depth: int = 2  # blocks inside blocks, 1..8
    repeat_counts: tuple[int, int] = (2, 5)  # uniform, both ends included
    max_steps: int = 100  # a program that needs more in any of its worlds is drawn again, so every sample ends

    def __post_init__(self) -> None:
        for name in ("if_weight", "ifelse_weight", "while_weight", "repeat_weight"):
            object.__setattr__(self, name, whole(f"control.{name}", getattr(self, name), 0, 10_000))
        if not sum(self.statement_weights):
            raise ValueError("control: every statement weight is 0; leave control out for straight-line programs")
        weights = _word_weights("control.condition_weights", self.condition_weights, CONDITION_NAMES)
        if not sum(weights):
            raise ValueError("control.condition_weights are all 0: give at least one condition a weight")
        object.__setattr__(self, "condition_weights", weights)
        if not isinstance(self.negate, bool):
            raise TypeError(f"control.negate must be true or false, not {self.negate!r}")
        object.__setattr__(self, "depth", whole("control.depth", self.depth, 1, 8))
        object.__setattr__(
            self, "repeat_counts", _range("control.repeat_counts", self.repeat_counts, lowest=0, highest=MAX_COUNT)
        )
        object.__setattr__(self, "max_steps", whole("control.max_steps", self.max_steps, 1, 100_000))

    @property
    def statement_weights(self) -> tuple[int, int, int, int]:
        """Weights of if, ifelse, while, repeat."""
        return self.if_weight, self.ifelse_weight, self.while_weight, self.repeat_weight

    def longest_program(self, statements: int, costs: Costs = symbol_costs) -> int:
        """The most symbols, or what else `costs` counts in, that a program of so many statements takes."""
        has_if, has_ifelse, has_while, has_repeat = (weight > 0 for weight in self.statement_weights)
        return longest_program(statements, self.depth, self.negate, (has_if, has_ifelse, has_while, has_repeat), costs)


@dataclass(frozen=True, slots=True)
class Recipe:
    """Every choice behind a data set. Raises ValueError or TypeError, naming the field, for one that cannot be drawn.

    Worlds: `height` x `width` cells with an outer wall; each interior cell is a wall, else holds one marker, with the
    given probabilities; the robot stands on a uniform interior cell in a uniform direction, and that cell is cleared.

    Programs: a length uniform over `lengths` (both ends included), then that many statements, each drawn with
    `action_weights` (order of `Action`: move, turn_left, turn_right, pick_marker, put_marker, then words added later,
    which weigh 0 where they are left out).

    `avoid_noops`: an action that would change nothing in any of the sample's shown worlds is drawn again, i.e. an
    action is drawn from those that change at least one shown world; where none does (possible only if nothing that is
    drawn turns the robot), the plain draw stands. The held-out worlds have no say: no reader of the sample could learn from them.
    The original's switch of that purpose forbids undoing pairs (a left turn right after a right turn) instead, and its
    published command leaves it off; hence `avoid_noops` is off in `Recipe.paper`.

    `split_by`: "index" draws each split from streams of its own, so the same short program may occur in two splits;
    "program" also redraws a program (with its length) until its hash falls into the split's share of
    `split_shares`, so that no program occurs in two splits. Lengths with few programs are then over- or
    under-represented by as much as their hashes happen to be.
    """

    height: int = 8
    width: int = 8
    wall_probability: float = 0.1
    marker_probability: float = 0.1
    examples: int = 5
    held_out: int = 5
    lengths: tuple[int, int] = (6, 10)
    action_weights: tuple[int, ...] = ACTION_WEIGHTS
    avoid_noops: bool = False
    control: ControlFlow | None = None
    semantics: Semantics = field(default_factory=lambda: resolve_semantics("original"))
    split_by: str = "index"
    split_shares: tuple[int, int, int] = (90, 5, 5)  # of train, val, test
    seed: int = 0

    def __post_init__(self) -> None:
        set_field = lambda name, value: object.__setattr__(self, name, value)  # noqa: E731
        set_field("height", whole("height", self.height, 3, 64))
        set_field("width", whole("width", self.width, 3, 64))
        set_field("wall_probability", _probability("wall_probability", self.wall_probability))
        set_field("marker_probability", _probability("marker_probability", self.marker_probability, one_allowed=True))
        if self.wall_threshold == 65536:
            raise ValueError(
                f"wall_probability {self.wall_probability} leaves no free cell: it must round to at most 65535/65536"
            )
        for name, threshold in (("wall", self.wall_threshold), ("marker", self.marker_threshold)):
            p = getattr(self, f"{name}_probability")
            if p > 0 and threshold == 0:
                raise ValueError(f"{name}_probability {p} is finer than the draws' 1/65536: use 0 or at least 1/65536")
        set_field("examples", whole("examples", self.examples, 1, 100))
        set_field("held_out", whole("held_out", self.held_out, 0, 100))
        set_field("lengths", _range("lengths", self.lengths, lowest=1, highest=MAX_LENGTH))
        weights = self.action_weights
        if isinstance(weights, str):
            if weights != "uniform":
                raise ValueError(f'action_weights {weights!r} is unknown: give integers or "uniform"')
            weights = (1,) * len(ACTION_NAMES)
        set_field("action_weights", _word_weights("action_weights", weights, ACTION_NAMES))
        if not sum(self.action_weights):
            raise ValueError("action_weights are all 0: give at least one action a weight")
        if not isinstance(self.avoid_noops, bool):
            raise TypeError(f"avoid_noops must be true or false, not {self.avoid_noops!r}")
        control = self.control
        if isinstance(control, Mapping):
            unknown = sorted(set(control) - {f.name for f in dataclasses.fields(ControlFlow)})
            if unknown:
                raise ValueError(f"control has no field {', '.join(unknown)}: was it written by a newer version?")
            control = ControlFlow(**control)
            set_field("control", control)
        if control is not None and not isinstance(control, ControlFlow):
            raise TypeError(f"control must be a ControlFlow or None, not {control!r}")
        if control is not None and self.avoid_noops:
            raise ValueError("avoid_noops is defined for straight-line programs only: leave out it or control")
        if control is not None and sum(self.action_weights) + sum(control.statement_weights) > 65535:
            raise ValueError("action_weights and control's statement weights add up to more than 65535")
        semantics = self.semantics
        set_field("semantics", semantics_from_json(semantics) if isinstance(semantics, str | dict) else semantics)
        if not isinstance(self.semantics, Semantics):
            raise TypeError(f"semantics must be a Semantics or the name of one, not {semantics!r}")
        if self.split_by not in ("index", "program"):
            raise ValueError(f'split_by {self.split_by!r} is unknown: "index" or "program"')
        shares = _integers("split_shares", self.split_shares, 3, SPLITS)
        if not sum(shares):
            raise ValueError("split_shares are all 0: give at least one split a share")
        set_field("split_shares", shares)
        set_field("seed", whole("seed", self.seed, 0, 2**64 - 1))

    # -- presets ------------------------------------------------------------------------------------------------------

    @classmethod
    def paper(cls, **changes: Any) -> Recipe:
        """ICML 2024: 8x8 worlds, 5 examples shown of 10, programs of 6 to 10 weighted actions."""
        return cls(**changes)

    @classmethod
    def paper_short(cls, **changes: Any) -> Recipe:
        """The set before the paper's filter: lengths 1 to 10 (the authors generate these, then drop 1 to 5)."""
        return cls(**{"lengths": (1, 10), **changes})

    @classmethod
    def colm(cls, **changes: Any) -> Recipe:
        """COLM 2024's probing set: 15 actions, uniform over move and the turns, no marker actions.

        The worlds keep their markers: the authors' switch only removes the two marker actions.
        """
        return cls(**{"lengths": (15, 15), "action_weights": (1, 1, 1, 0, 0), **changes})

    @classmethod
    def control_flow(cls, **changes: Any) -> Recipe:
        """All four block statements, two deep. The authors' generator has if and ifelse (weight 1 each) only."""
        control = ControlFlow(while_weight=1, repeat_weight=1)
        return cls(**{"lengths": (6, 10), "control": control, **changes})

    @classmethod
    def preset(cls, name: str, **changes: Any) -> Recipe:
        """The preset of that name, see `PRESETS`."""
        if name not in PRESETS:
            raise ValueError(f"no recipe preset {name!r}: {nearest(name, PRESETS)}")
        preset: Recipe = getattr(cls, name.replace("-", "_"))(**changes)
        return preset

    def replace(self, **changes: Any) -> Recipe:
        """A copy with some fields changed, checked again."""
        return dataclasses.replace(self, **changes)

    # -- derived ------------------------------------------------------------------------------------------------------

    @property
    def worlds_per_sample(self) -> int:
        """E: shown plus held-out examples."""
        return self.examples + self.held_out

    @property
    def wall_threshold(self) -> int:
        """16-bit values below it make a wall."""
        return round(65536 * Fraction(self.wall_probability))

    @property
    def marker_threshold(self) -> int:
        """How many 16-bit values, right after those of the wall, make a marker."""
        return round((65536 - self.wall_threshold) * Fraction(self.marker_probability))

    @property
    def straight_line(self) -> bool:
        """No control flow: a program's symbols are its actions."""
        return self.control is None

    @property
    def longest_run(self) -> int:
        """The most actions that a run of one of the recipe's programs can take."""
        return self.lengths[1] if self.control is None else self.control.max_steps

    @property
    def step_limit(self) -> int:
        """Actions after which a written program is given up when it is checked: enough for every one of the recipe's own."""
        return max(LEAST_STEP_LIMIT, self.longest_run)

    @property
    def symbol_width(self) -> int:
        """The longest program's length in symbols: the width of a sample's symbol row."""
        if self.control is None:
            return self.lengths[1]
        return self.control.longest_program(self.lengths[1])

    def meaning(self, semantics: str | Semantics) -> Semantics:
        """A meaning as a run on this recipe names it: "original" is the recipe's own. Errors as `resolve_semantics`."""
        own = isinstance(semantics, str) and semantics == "original"
        return self.semantics if own else resolve_semantics(semantics)

    def with_shortest(self, shortest: int | None) -> Recipe:
        """The same recipe with programs from so many actions on; None: this one. Raises ValueError for more than its longest."""
        if shortest is None:
            return self
        if shortest > self.lengths[1]:
            raise ValueError(
                f"shortest is {shortest}, but the recipe's programs have at most {self.lengths[1]} actions"
            )
        return dataclasses.replace(self, lengths=(shortest, self.lengths[1]))

    def exact_probabilities(self) -> dict[str, Fraction]:
        """What is drawn, as exact fractions; `marker` is given that the cell is no wall."""
        total = sum(self.action_weights)
        free = 65536 - self.wall_threshold
        out = {"wall": Fraction(self.wall_threshold, 65536), "marker": Fraction(self.marker_threshold, free)}
        return out | {n: Fraction(w, total) for n, w in zip(ACTION_NAMES, self.action_weights, strict=True)}

    # -- JSON ---------------------------------------------------------------------------------------------------------

    def to_json(self) -> str:
        """One line of JSON with sorted keys: equal recipes give equal text."""
        fields: dict[str, Any] = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        if self.control is None:
            # A straight-line recipe stays the same when the vocabulary grows. With control flow it does not: symbols shift.
            fields["action_weights"] = _without_new_words(self.action_weights)
        else:
            fields["control"] = dataclasses.asdict(self.control)
        fields["semantics"] = semantics_to_json(self.semantics)
        return json.dumps(fields, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Recipe:
        """The inverse of `to_json`. ValueError for text that is no recipe, naming unknown fields."""
        fields = parse_json(text.removeprefix("\ufeff"), "a recipe")
        if not isinstance(fields, dict):
            raise ValueError(f"a recipe must be a JSON object, not {type(fields).__name__}")
        unknown = sorted(set(fields) - {f.name for f in dataclasses.fields(cls)})
        if unknown:
            raise ValueError(f"a recipe has no field {', '.join(unknown)}: was it written by a newer version?")
        if isinstance(fields.get("control"), Mapping):
            _check_word_counts(fields)
        return cls(**fields)

    @property
    def hash(self) -> str:
        """16 hexadecimal digits of SHA-256 over `to_json`: the same in every process and on every machine."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]


PRESETS = ("paper", "paper-short", "colm", "control-flow")


def check_recipe(recipe: object) -> None:
    """TypeError unless it is a Recipe: a preset's name is a usual slip, and strings have no fields to fail by in plain words."""
    if not isinstance(recipe, Recipe):
        name = recipe if isinstance(recipe, str) and recipe in PRESETS else "paper"
        raise TypeError(f"recipe is {recipe!r}; give a Recipe, such as karel_fast.data.Recipe.preset({name!r})")


def split_code(split: str) -> int:
    """The split's number in the generator's counter: train 0, val 1, test 2."""
    if split not in SPLITS:
        raise ValueError(f"split {split!r} is unknown: one of {', '.join(SPLITS)}")
    return SPLITS.index(split)


def semantics_from_json(value: str | dict[str, str]) -> Semantics:
    """The inverse of `semantics_to_json`."""
    return resolve_semantics(value) if isinstance(value, str) else Semantics(**value)


def semantics_to_json(semantics: Semantics) -> str | dict[str, str]:
    """The name of a built-in semantics, else every action's name."""
    for name, named in NAMED_SEMANTICS.items():
        if named == semantics:
            return name
    return {name: ACTION_NAMES[code] for name, code in zip(ACTION_NAMES, semantics.table.tolist(), strict=True)}


def _probability(name: str, value: object, one_allowed: bool = False) -> float:
    probability = real(name, value, 0, 1)
    if probability == 1 and not one_allowed:
        raise ValueError(f"{name} is 1; give a number from 0 to below 1")
    return probability


def _listed(value: object) -> object:
    """A list in place of an array of one dimension."""
    return value.tolist() if isinstance(value, np.ndarray) and value.ndim == 1 else value


def _range(name: str, value: object, lowest: int, highest: int) -> tuple[int, int]:
    value = _listed(value)
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise TypeError(f"{name} must be a pair (lowest, highest), not {value!r}")
    low, high = value
    low, high = whole(f"{name}[0]", low, lowest, highest), whole(f"{name}[1]", high, lowest, highest)
    if low > high:
        raise ValueError(f"{name} {low}..{high} is empty: the first must not be above the second")
    return low, high


def _word_weights(name: str, value: object, names: tuple[str, ...]) -> Any:
    """A weight for every word; those added to the vocabulary after the first five may be left out."""
    value = _listed(value)
    if isinstance(value, tuple | list) and _FIRST_WORDS <= len(value) < len(names):
        value = (*value, *(0 for _ in names[len(value) :]))
    return _integers(name, value, len(names), names)


def _without_new_words(weights: tuple[int, ...]) -> tuple[int, ...]:
    used = max((k + 1 for k, weight in enumerate(weights) if weight), default=0)
    return weights[: max(used, _FIRST_WORDS)]


def _check_word_counts(fields: Mapping[str, Any]) -> None:
    """ValueError if a recipe with control flow was written under another vocabulary, whose symbols mean other things."""
    weights = fields.get("action_weights", ACTION_NAMES), fields["control"].get("condition_weights", CONDITION_NAMES)
    for kind, given, names in zip(("actions", "conditions"), weights, (ACTION_NAMES, CONDITION_NAMES), strict=True):
        if isinstance(given, list) and len(given) != len(names):
            raise ValueError(
                f"this recipe with control flow was written for {len(given)} {kind}, and the vocabulary has {len(names)}: "
                "its programs would be read as others; use the vocabulary that it was made with"
            )


def _integers(name: str, value: object, count: int, names: tuple[str, ...]) -> Any:
    if isinstance(value, Mapping):
        unknown = sorted(set(value) - set(names))
        if unknown:
            raise ValueError(f"{name} has no {', '.join(map(str, unknown))}: one of {', '.join(names)}")
        value = tuple(value.get(n, 0) for n in names)
    value = _listed(value)
    if not isinstance(value, tuple | list) or len(value) != count:
        raise TypeError(f"{name} must be {count} integers ({', '.join(names)}), not {value!r}")
    return tuple(whole(f"{name}[{n}]", item, 0, 10_000) for n, item in zip(names, value, strict=True))
