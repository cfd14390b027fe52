"""Presets: those that there are, what they may say, and which stands for which."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_preset import TINY

from karel_fast.data import Recipe, Tokenizer, generate
from karel_fast.experiment.preset import faithful_name, load_preset, name_on, preset_names
from karel_fast.model import Transformer, model_config


def test_presets_load():
    assert "smoke" in preset_names()
    for name in preset_names():
        assert load_preset(name).training.steps > 0


def test_a_preset_that_extends_another(tmp_path):
    tiny = str(tmp_path / "tiny.toml")
    Path(tiny).write_text(TINY)
    (tmp_path / "sub").mkdir()
    middle, top = tmp_path / "sub" / "middle.toml", tmp_path / "top.toml"
    middle.write_text(f'extends = "../{Path(tiny).name}"\n[training]\nsteps = 8\nseed = 3\n')
    top.write_text('extends = "sub/middle.toml"\nlayout = "reference"\n[training]\nsteps = 6\n')
    base, made = load_preset(tiny), load_preset(str(top))
    assert (made.layout, made.training.steps, made.training.seed) == ("reference", 6, 3)
    assert made.training.batch_size == base.training.batch_size
    assert made.recipe == base.recipe
    assert "extends" not in made.source  # what a run keeps stands for itself
    top.write_text('extends = "smoke"\n')
    assert load_preset(str(top)).training == load_preset("smoke").training
    for text, message in (
        ('extends = "smok"', "top.toml: extends an unknown preset 'smok'; did you mean 'smoke'"),
        ("extends = 3", "top.toml: extends is 3; give the name of a preset"),
        ('extends = "top.toml"', "extends itself"),
        ('extends = "smoke"\n[training]\nstepz = 1', "unknown setting 'stepz'"),
    ):
        top.write_text(text)
        with pytest.raises(ValueError, match=message):
            load_preset(str(top))


def row_flops(preset) -> float:
    """Of one training row, counted on a model that has no memory."""
    tokenizer = Tokenizer(preset.recipe, layout=preset.layout)
    length = tokenizer.sequence_length - 1
    with torch.device("meta"):
        shape = preset.model
        model = Transformer(
            model_config(
                tokenizer.vocab_size, length, layers=shape.layers, width=shape.width, heads=shape.heads,
                rotary_dim=shape.rotary_dim, row_code=tokenizer.row_code,
            )
        )  # fmt: skip
    first = {"all": 0, "outputs": tokenizer.output_positions[0] - 1}[preset.training.loss]
    return length * model.flops_per_token(length, first)


@pytest.mark.parametrize("name", ["paper", "paper-gpu", "paper-faithful"])
def test_the_paper_s_setting(name):
    preset = load_preset(name)
    assert preset.recipe.hash == Recipe.paper().hash
    assert preset.evaluation.specifications == 10_000
    assert sum(preset.training.has_snapshot(step) for step in range(1, preset.training.steps + 1)) >= 20
    if name == "paper":
        return
    grid = preset.probing.grid
    assert (len(grid.seeds), grid.features, grid.offsets) == (5, ("direction", "position", "facing"), (-2, -1, 0, 1, 2))
    assert (tuple(grid.depths), grid.semantics) == (("linear", "mlp1", "mlp2"), ("original", "flip", "adversarial"))


def test_the_paper_s_budget():
    """What the files say: 0.39 GFLOP a sample on two processors; on a GPU 8.0e16 FLOP, 7 minutes at 20 % of an H100."""
    assert row_flops(load_preset("paper")) == pytest.approx(0.39e9, rel=0.01)
    preset = load_preset("paper-gpu")
    flops = preset.training.steps * preset.training.batch_size * row_flops(preset)
    assert flops == pytest.approx(8.0e16, rel=0.02)
    assert flops / (0.2 * 989e12) < 7 * 60


def test_a_gpu_takes_its_own_variant(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert [name_on("paper", device) for device in ("auto", "cuda", "cpu")] == ["paper-gpu", "paper-gpu", "paper"]
    assert [name_on(name, "auto") for name in ("smoke", "paper-gpu", "own.toml")] == ["smoke", "paper-gpu", "own.toml"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert name_on("paper", "auto") == "paper"


def test_the_faithful_paper_has_the_original_s_tokens():
    preset = load_preset(faithful_name("paper"))
    tokenizer = Tokenizer(preset.recipe, layout=preset.layout)
    rows = tokenizer.encode(generate(preset.recipe, "train", 0, 2000))
    tokens = (rows != tokenizer.pad_id).sum() / 2000 * preset.training.batch_size
    assert tokens == pytest.approx(16 * 2048, rel=0.01)
    assert preset.training.steps == 80_000
    assert preset.data.samples == 500_000
    assert preset.training.steps * preset.training.batch_size * row_flops(preset) == pytest.approx(4.5e18, rel=0.02)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("heads = 4", "heads = 4\nrotary_dim = 3"), "rotary_dim is 3"),
        (("heads = 4", "heads = 4\nrotary_dim = 6"), "rotary_dim is 6.*head width 4"),
        (("width = 16", "width = 0"), "width is 0"),
        (("[model]", "[data]\nsamples = -1\n[model]"), r"\[data\]: samples is -1"),
        (("[model]", "[data]\nrows = 1\n[model]"), "unknown setting 'rows'"),
        (("steps = 4", "steps = 0"), r"\[training\]: steps is 0"),
        (("steps = 4", "stepz = 4"), "unknown setting 'stepz'; did you mean 'steps'"),
        (("lengths = [2, 2]", "lengths = [5, 3]"), r"\[recipe\]: "),
        (("seeds = [0, 1]", "closer = true"), "closer is for the table"),
        (("[model]", "[models]"), "unknown 'models'; did you mean 'model'"),
        (("steps = 4", "steps = "), "Invalid value"),
        (('depths = ["linear"]', 'depths = ["deep"]'), "depth is 'deep'; use one of linear, mlp1, mlp2"),
        (("on_the_way = 6", "on_the_way = 0"), r"\[evaluation\]: on_the_way is 0"),
        (('depths = ["linear"]', "depths = { deep = [0] }"), r"\[probing\]: depths.deep is 0"),
        (('depths = ["linear"]', "depths = { deep = 7.5 }"), r"\[probing\]: depths.deep is 7.5"),
        (("validation = 8, ", ""), "programs is of train, test; give train, validation, test, as in train=16000"),
    ],
)
def test_wrong_presets(tmp_path, change, message):
    path = tmp_path / "wrong.toml"
    path.write_text(TINY.replace(*change))
    with pytest.raises(ValueError, match=message):
        load_preset(str(path))
