"""Interventions: the edits that are asked for, nothing else changed, in scoring and in decoding, one graph."""

import numpy as np
import pytest
import torch
from tiny_model import CONTEXT, END, PAD, PROMPT, tiny_grammar, tiny_model, tiny_tokens

import karel_fast as kf
from karel_fast.model import Capture, Intervention
from karel_fast.model.decode import Decoder, write_programs
from karel_fast.model.scoring import hidden_states
from karel_fast.support.checks import NotFiniteError

ROWS, WIDTH, LAYERS = 5, 32, 3
TOKENS = torch.from_numpy(tiny_tokens()).long()
PICKED = torch.tensor([3, 0, 17])
PICKED_ROWS = torch.arange(10).view(5, 2)
GRAMMAR, STEPS, IDS = tiny_grammar(), CONTEXT - PROMPT, {"pad_id": PAD, "end_id": END}
BASIS = torch.linalg.qr(torch.randn(WIDTH, 4, generator=torch.Generator().manual_seed(1))).Q.mT.contiguous()
PLACES = {"program": slice(PROMPT - 1, CONTEXT - 1), "all": slice(None)}


@pytest.fixture(scope="module")
def model():
    return tiny_model(layers=LAYERS)


def plain(model, change, layers, final_norm=True):
    """Logits and states of a loop of its own: `change(state, x)` is called on each state that is edited."""
    x, states = model.wte(TOKENS), []
    for index, block in enumerate(model.h):
        x = change(index, x) if index in layers else x
        states.append(x)
        x = block(x, model.sin[:CONTEXT], model.cos[:CONTEXT])
    last = len(model.h)
    if last in layers and not final_norm:
        x = change(last, x)
    x = model.ln_f(x)
    if last in layers and final_norm:
        x = change(last, x)
    return model.lm_head(x), torch.stack([*states, x], dim=2)


def at(positions, x, new):
    """x with `new` at the positions."""
    out = x.clone()
    for row in range(ROWS):
        where = PLACES[positions] if isinstance(positions, str) else positions.expand(ROWS, -1)[row]
        out[row, where] = new[row, where]
    return out


@pytest.mark.parametrize("layers", [[0], [2, 1], [LAYERS]])
@pytest.mark.parametrize("positions", ["program", "all", PICKED, PICKED_ROWS])
@torch.no_grad()
def test_edits_are_those_of_a_plain_loop(model, layers, positions):
    vector = torch.randn(len(layers), WIDTH)
    part = BASIS.mT @ BASIS
    own = {layer: vector[index] for index, layer in enumerate(layers)}
    where = {"layers": layers, "positions": positions}
    for intervention, edited in (
        (Intervention.add(vector, **where), lambda s, x: x + own[s]),
        (Intervention.set(vector, **where), lambda s, x: own[s].expand_as(x)),
        (Intervention.set(vector, BASIS, **where), lambda s, x: x + (own[s] - x) @ part),
        (Intervention.scale(0.5, **where), lambda _, x: 0.5 * x),
        (Intervention.scale(torch.tensor(3.0), BASIS, **where), lambda _, x: x + 2 * (x @ part)),
        (Intervention.project_out(BASIS, **where), lambda _, x: x - x @ part),
    ):
        expected, states = plain(model, lambda s, x, edited=edited: at(positions, x, edited(s, x)), layers)
        found, hidden = model(TOKENS, Capture([0, 1, 2, 3], "all"), intervention=intervention)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(hidden, states, atol=1e-5, rtol=1e-5)
        assert not torch.equal(found, model(TOKENS))
        # The last block is computed for fewer positions; nothing that is asked for changes.
        late = model(TOKENS, intervention=intervention, logits_from=PROMPT)
        torch.testing.assert_close(late, expected[:, PROMPT:], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_the_last_state_before_the_final_norm(model):
    found = model(TOKENS, intervention=Intervention.scale(2.0, layers=[LAYERS], positions="all", final_norm=False))
    expected, _ = plain(model, lambda _, x: 2 * x, [LAYERS], final_norm=False)
    torch.testing.assert_close(found, expected)


@torch.no_grad()
def test_swapped_states_are_another_runs(model):
    """With every position of a layer swapped, the run goes on as the other one; with its own, the bits stay."""
    other = torch.from_numpy(tiny_tokens(seed=1)).long()
    _, states = model(other, Capture([1], "all"))
    swap = Intervention.swap(states, layers=[1], positions="all")
    assert torch.equal(model(TOKENS, intervention=swap), model(other))
    _, states = model(other, Capture([1, 2], PICKED_ROWS))
    _, hidden = model(
        TOKENS,
        Capture([1, 2], PICKED_ROWS),
        intervention=Intervention.swap(states, layers=[1, 2], positions=PICKED_ROWS),
    )
    assert torch.equal(hidden, states)
    with pytest.raises(ValueError, match=r"need \(B, K, L, D\)"):
        Intervention.swap(states[:, :, 0], layers=[1], positions=PICKED_ROWS)


def identities(model, positions):
    """Edits that change nothing, in TOKENS."""
    with torch.no_grad():
        _, own = model(TOKENS, Capture([1, 3], positions))
    where = {"layers": [1, 3], "positions": positions}
    return (
        Intervention.add(torch.zeros(WIDTH), **where),
        Intervention.scale(1.0, **where),
        Intervention.scale(1.0, BASIS, **where),
        Intervention.swap(own, **where),
        Intervention.swap(own, BASIS, **where),
    )


@pytest.mark.parametrize("positions", ["program", PICKED_ROWS])
@torch.no_grad()
def test_an_edit_that_changes_nothing_gives_the_same_bits(model, positions):
    names = list(model.state_dict())
    for intervention in identities(model, positions):
        assert torch.equal(model(TOKENS, intervention=intervention), model(TOKENS))
    assert list(model.state_dict()) == names


@torch.no_grad()
def test_compiled_is_one_graph_for_all_batches(model):
    torch._dynamo.reset()
    run = torch.compile(model, fullgraph=True, dynamic=False)
    bare = run(TOKENS)
    capture = Capture("mean", PICKED_ROWS)
    for identity in identities(run, PICKED_ROWS):
        assert torch.equal(run(TOKENS, intervention=identity), bare)
    first = Intervention.set(torch.randn(ROWS, 2, 1, WIDTH), BASIS, layers=[1], positions=PICKED_ROWS)
    logits, hidden = run(TOKENS, capture, intervention=first)
    expected, states = model(TOKENS, capture, intervention=first)
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(hidden, states, atol=1e-4, rtol=1e-4)
    with torch._dynamo.config.patch(error_on_recompile=True):
        other = Intervention.set(torch.randn(ROWS, 2, 1, WIDTH), BASIS.flip(0), layers=[1], positions=PICKED_ROWS + 1)
        run(torch.from_numpy(tiny_tokens(seed=1)).long(), Capture("mean", PICKED_ROWS + 2), intervention=other)


def test_gradients_flow_back_to_the_basis_and_the_values(model):
    values, basis = torch.randn(WIDTH, requires_grad=True), BASIS.clone().requires_grad_()
    model(TOKENS, intervention=Intervention.set(values, basis, layers=[1], positions=PICKED)).sum().backward()
    assert values.grad.abs().sum() > 0
    assert basis.grad.abs().sum() > 0
    model.zero_grad()


@pytest.mark.parametrize("layers", [[0], [2, 3]])
@pytest.mark.parametrize("positions", ["program", "all", PICKED, PICKED_ROWS + PROMPT - 3])
def test_decoding_goes_on_as_scoring_does(model, layers, positions):
    """The tokens that an edited model writes are those that it finds likeliest, edited, in its own text."""
    prompts = TOKENS[:, :PROMPT].numpy()
    edit = Intervention.add(3 * torch.randn(len(layers), WIDTH), layers=layers, positions=positions)
    settings = {"constrained": False, "batch_size": 2, "compile": False, **IDS}
    made = write_programs(model, prompts, GRAMMAR, STEPS, Capture([0, 3]), intervention=edit, **settings)
    assert not np.array_equal(made.tokens, write_programs(model, prompts, GRAMMAR, STEPS, **settings).tokens)
    whole = torch.from_numpy(np.concatenate([prompts, made.tokens], axis=1)).long()
    with torch.no_grad():
        logits, states = model(whole, Capture([0, 3], "all"), intervention=edit)
    best = logits[:, PROMPT - 1 : -1].argmax(2).numpy()
    for row in range(ROWS):
        ended = np.flatnonzero(made.tokens[row] == END)
        stop = ended[0] + 1 if len(ended) else STEPS
        assert best[row, :stop].tolist() == made.tokens[row, :stop].tolist()
        acts = np.flatnonzero(GRAMMAR.action_of_token[made.tokens[row]] >= 0)
        torch.testing.assert_close(made.hidden[row, : len(acts)], states[row, acts + PROMPT - 1], atol=1e-4, rtol=1e-4)


def test_compiled_decoding_without_recompiles():
    torch._dynamo.reset()
    model = tiny_model(layers=1)
    prompts = TOKENS[:4, :PROMPT].numpy()

    def written(decoder, seed):
        generator = torch.Generator().manual_seed(seed)
        vector = 3 * torch.randn(4, 1, 1, WIDTH, generator=generator)
        edit = Intervention.add(vector, layers=[1], positions=PICKED_ROWS[:4] + PROMPT + seed)
        return np.concatenate([decoder.write(read).tokens for read in decoder.read(prompts, 2, edit)])

    quick = Decoder(model, GRAMMAR, STEPS, **IDS)
    slow = Decoder(model, GRAMMAR, STEPS, compile=False, **IDS)
    assert np.array_equal(written(quick, 0), written(slow, 0))
    with torch._dynamo.config.patch(error_on_recompile=True):
        assert np.array_equal(written(quick, 1), written(slow, 1))


def test_scoring_takes_each_row_its_own_edit(model):
    edit = Intervention.set(torch.randn(ROWS, 2, 2, WIDTH), layers=[0, 2], positions=PICKED_ROWS)
    capture = Capture("mean", PICKED_ROWS + 1)
    parts = list(hidden_states(model, tiny_tokens(), capture, intervention=edit, batch_size=2, compile=False))
    with torch.no_grad():
        expected = model(TOKENS, capture, intervention=edit)[1]
    torch.testing.assert_close(torch.cat(parts), expected, atol=1e-6, rtol=1e-6)


def test_gradients_flow_back_to_a_factor_without_dimensions(model):
    factor = torch.tensor(2.0, requires_grad=True)
    model(TOKENS, intervention=Intervention.scale(factor, layers=[1], positions=PICKED)).sum().backward()
    assert factor.grad.abs() > 0
    model.zero_grad()


def test_an_edit_of_one_step_that_leaves_the_numbers_is_told_so(model):
    """Of the last state: no later step sees it."""
    edit = Intervention.add(torch.full((WIDTH,), 3e38), layers=[LAYERS], positions=torch.tensor([PROMPT + 1]))
    with pytest.raises(NotFiniteError, match="the edit made a number that is not finite"):
        write_programs(model, TOKENS[:, :PROMPT].numpy(), GRAMMAR, STEPS, intervention=edit, compile=False, **IDS)


def test_an_edit_that_leaves_the_numbers_is_told_so(model):
    edit = Intervention.scale(3e38, layers=[1], positions=PICKED)
    with pytest.raises(NotFiniteError, match="the edit made a number that is not finite"):
        next(hidden_states(model, tiny_tokens(), Capture([3], "all"), intervention=edit, compile=False))
    with pytest.raises(NotFiniteError, match="the edit made a number that is not finite"):
        write_programs(model, TOKENS[:, :PROMPT].numpy(), GRAMMAR, STEPS, intervention=edit, compile=False, **IDS)


@pytest.mark.parametrize("positions", [PICKED, PICKED_ROWS])
def test_positions_are_named_as_a_capture_names_them(model, positions):
    expected = model(TOKENS, intervention=Intervention.add(torch.ones(WIDTH), layers=[1], positions=positions))
    for named in (positions.numpy(), positions.tolist()):
        assert torch.equal(Capture([1], named).positions, positions)
        edit = Intervention.add(torch.ones(WIDTH), layers=[1], positions=named)
        assert torch.equal(model(TOKENS, intervention=edit), expected)


def test_wrong_requests(model):
    assert kf.model.Intervention is Intervention
    vector, where = torch.zeros(WIDTH), {"layers": [1], "positions": PICKED}
    for make, message in (
        (lambda: Intervention.add(vector, layers=[], positions="all"), "at least one"),
        (lambda: Intervention.add(vector, layers=[1], positions="some"), "some"),
        (lambda: Intervention.add(vector, layers=[1], positions=torch.tensor([2, 1, 2])), "twice"),
        (lambda: Intervention.add(vector / 0, **where), "not finite"),
        (lambda: Intervention.add(torch.zeros(2, WIDTH), **where), "for 2 layers"),
        (lambda: Intervention.scale(float("inf"), **where), "not finite"),
        (lambda: Intervention.scale(vector, **where), r"\(B, K, L, 1\)"),
        (lambda: Intervention.project_out(2 * BASIS, **where), "not orthonormal"),
        (lambda: Intervention.project_out(BASIS.mT, **where), "R from 1 to D"),
        (lambda: Intervention.project_out(torch.stack([BASIS] * 2), **where), "for 2 layers"),
        (lambda: Intervention([1], PICKED, "turn", vector), "kind='turn'"),
        (lambda: Intervention([1], PICKED, "add", vector, BASIS), "takes no basis"),
    ):
        with pytest.raises(ValueError, match=message):
            make()
    with pytest.raises(TypeError, match="floating-point"):
        Intervention.add(vector.long(), **where)
    with pytest.raises(TypeError, match="positions is set"):
        Intervention.add(vector, layers=[1], positions={1, 2})
    with pytest.raises(ValueError, match="twice"):
        Intervention.add(vector, layers=[1], positions=[2, 1, 2])
    for intervention, message in (
        (Intervention.add(vector, layers=[4], positions=PICKED), "intervention layer 4: this model has states 0..3"),
        (Intervention.add(vector, layers=[1], positions=PICKED + CONTEXT), f"position {CONTEXT + 17}"),
        (Intervention.add(vector, layers=[1], positions=PICKED_ROWS[:4]), "4 rows"),
        (Intervention.add(torch.zeros(16), **where), "width 16"),
        (Intervention.add(torch.zeros(4, 1, 1, WIDTH), **where), "rows 4"),
        (Intervention.add(torch.zeros(2, 1, WIDTH), **where), "positions 2"),
        (Intervention.project_out(torch.eye(16)[:2], **where), "basis has width 16"),
    ):
        with pytest.raises(ValueError, match=message):
            model(TOKENS, intervention=intervention)
        with pytest.raises(ValueError, match=message):
            next(hidden_states(model, tiny_tokens(), Capture(), intervention=intervention, compile=False))
        with pytest.raises(ValueError, match=message):
            write_programs(
                model, TOKENS[:, :PROMPT].numpy(), GRAMMAR, STEPS, intervention=intervention, compile=False, **IDS
            )
