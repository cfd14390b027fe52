"""What a model was trained on: as its folder says, as the caller says, or as far as its vocabulary tells."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import torch
from transformers import CodeGenConfig

from karel_fast.data import Recipe, Tokenizer
from karel_fast.data.sampling.recipe import check_recipe
from karel_fast.data.tokens.interpreter import make_tokenizer
from karel_fast.data.tokens.registry import LAYOUTS
from karel_fast.model import Transformer
from karel_fast.model.hub import read_config
from karel_fast.model.rows import row_code_of
from karel_fast.runs.snapshots import CARD, list_snapshots, open_snapshot, read_card, snapshot_path, write_snapshot
from karel_fast.support.checks import InputError
from karel_fast.support.files import read_json
from karel_fast.support.row_code import vocabulary_text

TOKENIZER = "tokenizer.json"


def model_folder(path: str | Path, step: int | None = None) -> Path:
    """The folder of a model: of a run its last snapshot, or the one of `step`; else `path` itself. InputError for a step that there
    is not.
    """
    folder = Path(path)
    snapshots = list_snapshots(folder)
    if not snapshots:
        if step is not None:
            raise InputError(f"{folder} is no run with snapshots, so step={step} names none; leave it out")
        return folder
    steps = {int(read_card(snapshot)["step"]): snapshot for snapshot in snapshots}
    if step is not None and step not in steps:
        raise InputError(f"{folder} has no snapshot of step {step}; it has {', '.join(map(str, steps))}")
    return snapshots[-1] if step is None else steps[step]


def origin(folder: str | Path, recipe: Recipe | None = None, layout: str | None = None) -> tuple[Recipe, str]:
    """The recipe and layout that a model was trained on: those given, else those in the folder's karel_fast.json. A layout that
    neither names is found by the folder's vocabulary.

    Raises InputError for a folder that does not say what it was trained on, or a vocabulary that is not the layout's;
    FileNotFoundError or ValueError for one that holds no CodeGen model.
    """
    folder = Path(folder)
    card = read_card(folder) if (folder / CARD).is_file() else {}
    config = read_config(folder)
    has = vocabulary_text(config.vocab_size, row_code_of(config))
    if recipe is None:
        if not card.get("recipe"):
            raise InputError(
                f"{folder} does not say what it was trained on: give its recipe (recipe=, --recipe: a preset's name or a JSON file)"
            )
        recipe = Recipe.from_json(card["recipe"])
    check_recipe(recipe)
    layout = layout or card.get("layout")
    if layout:
        tokenizer = Tokenizer(recipe, layout if layout in LAYOUTS else "compact")
        if not _fits(folder, config, tokenizer):
            raise InputError(
                f"{folder} has {has}, which are not those of layout {layout} "
                f"({vocabulary_text(tokenizer.vocab_size, tokenizer.row_code)}): give the recipe and layout that it was trained on"
            )
        return recipe, layout
    known = _tokenizers(recipe)
    fitting = [tokenizer.layout for tokenizer in known if _fits(folder, config, tokenizer)]
    if not fitting:
        sizes = "; ".join(
            f"{tokenizer.layout}: {vocabulary_text(tokenizer.vocab_size, tokenizer.row_code)}" for tokenizer in known
        )
        raise InputError(
            f"{folder} has {has}, which are no layout's of this recipe ({sizes}): give the recipe that it was trained on"
        )
    return recipe, fitting[0]


def _tokenizers(recipe: Recipe) -> list[Tokenizer]:
    """One for every layout that the recipe's samples can be written in."""
    made = []
    for name in LAYOUTS:
        with suppress(ValueError):
            made.append(Tokenizer(recipe, name))
    return made


def _fits(folder: Path, config: CodeGenConfig, tokenizer: Tokenizer) -> bool:
    """Whether a model has the tokenizer's vocabulary, its own tokenizer's words too, if that lies there."""
    if (config.vocab_size, row_code_of(config)) != (tokenizer.vocab_size, tokenizer.row_code):
        return False
    if not (folder / TOKENIZER).is_file():
        return True
    model = read_json(folder / TOKENIZER).get("model")
    words = model.get("vocab") if isinstance(model, dict) else None
    return words == {word: number for number, word in enumerate(tokenizer.tokens)}


def adopt(folder: str | Path, run: str | Path, recipe: Recipe | None = None, layout: str | None = None) -> Path:
    """Make a run of a model from elsewhere, so that it can be probed: its weights become a snapshot of `run`, whose path is returned.

    The model's own folder is only read. Done already: nothing happens. Errors as `origin`; InputError for a run that holds
    another model.
    """
    folder = Path(folder)
    recipe, layout = origin(folder, recipe, layout)
    tokenizer = make_tokenizer(recipe, layout)
    model = open_snapshot(folder, tokenizer)
    model.check_length(tokenizer.sequence_length)
    step = int(read_card(folder)["step"]) if (folder / CARD).is_file() else 0
    place = snapshot_path(run, step)
    if list_snapshots(run):
        card = read_card(place) if (place / CARD).is_file() else {}
        same = (card.get("recipe_hash"), card.get("layout")) == (recipe.hash, layout)
        if not same or not _equal(open_snapshot(place, tokenizer), model):
            raise InputError(f"{run} holds another model: choose another folder")
        return place
    card = {"recipe_hash": recipe.hash, "recipe": recipe.to_json(), "layout": layout, "adopted_from": str(folder)}
    return write_snapshot(run, step, model, card, tokenizer)


def _equal(one: Transformer, other: Transformer) -> bool:
    mine, theirs = one.state_dict(), other.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)
