"""A recipe, a tokenizer and samples of it, and an untrained model, that the tests of evaluation share."""

import numpy as np
import torch

import karel_fast as kf
from karel_fast.data import Recipe, Tokenizer, generate
from karel_fast.model import Transformer, model_config

RECIPE = Recipe(height=5, width=5, examples=2, held_out=1, lengths=(1, 2))
TOKENIZER = Tokenizer(RECIPE)
SAMPLES = generate(RECIPE, split="test", count=60)
PLAIN = {"device": "cpu", "precision": "fp32", "compile_model": False, "batch_size": 25}


def shape(tokenizer=TOKENIZER):
    return model_config(
        tokenizer.vocab_size,
        tokenizer.sequence_length,
        layers=1,
        width=32,
        heads=4,
        prompt_length=tokenizer.prompt_length,
        pad_id=tokenizer.pad_id,
        end_id=tokenizer.end_id,
    )


def random_weights(seed):
    """A model that writes all kinds of programs."""
    torch.manual_seed(seed)
    model = Transformer(shape())
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.08)
    with torch.no_grad():
        model.lm_head.bias[TOKENIZER.end_id] += 0.5  # so that some programs end
    return model.eval()


def plain_counts(tokenizer, samples, generated):
    """Every metric that needs the executor, program by program."""
    recipe = samples.recipe
    per = recipe.examples + recipe.held_out
    correct, general = [], []
    for i in range(len(samples)):
        program = kf.Program.from_actions(generated.actions[i, : generated.lengths[i]].tolist())
        right = []
        for world in range(i * per, (i + 1) * per):
            made = kf.run(program, samples.inputs[world], semantics=recipe.semantics).worlds
            # As text, as the specification is shown: nobody sees the markers under the robot.
            right.append(made.to_text() == samples.outputs[world].to_text())
        ok = all(right[: recipe.examples]) and bool(generated.finished[i])
        correct.append(ok)
        general.append(ok and all(right[recipe.examples :]))
    return np.array(correct), np.array(general)
