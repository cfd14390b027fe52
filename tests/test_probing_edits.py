"""Counterfactual pairs, edits between their runs, subspaces, erasure, and the whole set on a small untrained model."""

from __future__ import annotations

import itertools
import json
from functools import partial

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from karel_fast.cli import app
from karel_fast.data import ControlFlow, Recipe, Tokenizer, generate
from karel_fast.karel.execution import check
from karel_fast.karel.language import CompiledPrograms
from karel_fast.model import Capture, Intervention, Transformer, model_config
from karel_fast.probing.edits import experiment
from karel_fast.probing.edits.erasing import METHODS, Erasing
from karel_fast.probing.edits.erasure import fit_eraser, readable
from karel_fast.probing.edits.exchange import Exchange, Outcome, grammar_after, token_rows
from karel_fast.probing.edits.experiment import check_model, steer_snapshot
from karel_fast.probing.edits.groups import group_names, groups_of
from karel_fast.probing.edits.pairs import KINDS, counterfactual_pairs
from karel_fast.probing.edits.rotation import learn_rotation, logits_from, other_programs
from karel_fast.probing.edits.scores import interval, record_of
from karel_fast.probing.edits.subspace_rows import choose_site, strangers, subspace_rows
from karel_fast.probing.edits.subspaces import (
    Reading,
    labels_of,
    means_basis,
    principal_basis,
    probe_basis,
    probe_turn,
    random_basis,
)
from karel_fast.probing.probes.training import ProbeWeights
from karel_fast.probing.steer_settings import SteerConfig
from karel_fast.runs.folder import RunFolder
from karel_fast.runs.snapshots import choose_snapshots, write_snapshot
from karel_fast.support.checks import InputError

RECIPE = Recipe(height=5, width=5, examples=2, held_out=1, lengths=(4, 5), wall_probability=0.1)
GIVEN = 3


def small_model(tokenizer: Tokenizer, seed: int = 0) -> Transformer:
    """Weights large enough that programs differ from one specification to the next."""
    torch.manual_seed(seed)
    config = model_config(
        tokenizer.vocab_size, tokenizer.sequence_length, layers=2, width=32, heads=4,
        prompt_length=tokenizer.prompt_length, pad_id=tokenizer.pad_id, end_id=tokenizer.end_id,
    )  # fmt: skip
    model = Transformer(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.normal_(std=0.3)
    return model


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer(RECIPE)


def pairs_of(kind: str, count: int = 24):
    return counterfactual_pairs(RECIPE, kind, "val", 0, count, given=GIVEN)


@pytest.fixture(scope="module")
def exchange(tokenizer) -> Exchange:
    return Exchange(small_model(tokenizer), tokenizer, pairs_of("turned"), solved_only=False)


# Pairs


def every_program() -> tuple[np.ndarray, np.ndarray]:
    rows = [row for length in (4, 5) for row in itertools.product(range(5), repeat=length)]
    lengths = np.array([len(row) for row in rows], np.int32)
    return np.array([[*row, *(255,) * (5 - len(row))] for row in rows], np.uint8), lengths


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_pair_demands_is_found_by_trying_every_program(kind):
    pairs = pairs_of(kind, 60)
    assert 0 < len(pairs) <= pairs.drawn == 60
    actions, lengths = every_program()
    programs = CompiledPrograms.from_actions(actions, lengths)
    for i in range(min(2, len(pairs))):
        right = []
        for side in (pairs.base, pairs.other):
            inputs, outputs = side[np.array([i])].samples.shown()
            shown = [worlds[np.tile([0, 1], len(lengths))] for worlds in (inputs, outputs)]
            satisfied = check(programs, *shown).reshape(-1, 2).all(1)
            given = side.given[i]
            begun = (actions[:, : len(given)] == given).all(1) & (lengths > len(given))
            right.append({tuple(a[len(given) :]) for a in actions[satisfied & begun]})
        assert right[0], "the sample's own program satisfies it"
        assert right[1], "some program does what the changed one demands"
        assert not right[0] & right[1], "no program does both"


def test_only_what_is_said_differs():
    pairs = pairs_of("turned")
    before, after = pairs.base.samples.inputs, pairs.other.samples.inputs
    assert np.array_equal(before.walls, after.walls)
    assert np.array_equal(before.markers, after.markers)
    assert np.array_equal(before.robot[:, :2], after.robot[:, :2])
    quarters = ((after.robot[:, 2].astype(int) - before.robot[:, 2]) % 4).reshape(-1, 2)
    assert (quarters > 0).all()
    assert (quarters[:, 0] == quarters[:, 1]).all()
    pairs = pairs_of("moved", 200)
    before, after = (side.samples.inputs.robot.astype(int) for side in (pairs.base, pairs.other))
    assert (np.abs(after - before).sum(1) == 1).all()
    pairs = pairs_of("marked", 200)
    before, after = (side.samples.inputs.markers.astype(int) for side in (pairs.base, pairs.other))
    assert (np.abs(after - before).sum((1, 2)) == 1).all()
    pairs = pairs_of("written")
    assert ((pairs.base.given != pairs.other.given).sum(1) == 1).all()
    assert (pairs.base.given[:, -1] == pairs.other.given[:, -1]).all()
    assert pairs.base.samples is not None
    assert np.array_equal(pairs.base.samples.inputs.robot, pairs.other.samples.inputs.robot)


def test_pairs_are_the_same_again_and_rows_of_them_belong_together():
    one, two = pairs_of("ending"), pairs_of("ending")
    assert np.array_equal(one.numbers, two.numbers)
    assert one.other.samples.outputs == two.other.samples.outputs
    some = one[np.array([2, 0])]
    assert some.numbers.tolist() == one.numbers[[2, 0]].tolist()
    assert some.other.samples.outputs[:2] == one.other.samples.outputs[4:6]


def test_wrong_pairs():
    for change, message in (
        ({"kind": "tured"}, "did you mean 'turned'"),
        ({"kind": "written", "given": 4}, "given is 4; give a whole number from 2 to 3"),
        ({"given": 1}, "given is 1"),
    ):
        with pytest.raises(ValueError, match=message):
            counterfactual_pairs(RECIPE, **{"kind": "turned", "split": "val", "start": 0, "count": 4, **change})
    looping = RECIPE.replace(control=ControlFlow())
    with pytest.raises(ValueError, match="no recipe with control flow"):
        counterfactual_pairs(looping, "turned", "val", 0, 4)


# Groups


@pytest.mark.parametrize("layout", ["compact", "reference"])
@pytest.mark.parametrize("kind", ["turned", "ending", "written"])
def test_every_token_is_in_one_group(kind, layout):
    tokenizer = Tokenizer(RECIPE, layout)
    pairs = pairs_of(kind)
    base, other = (token_rows(tokenizer, side) for side in (pairs.base, pairs.other))
    groups = groups_of(tokenizer, base, other)
    assert tuple(groups) == group_names(2)
    parts = ("changed", "input", "output robot", "output", "heads", "written", "last")
    assert (sum(groups[name].astype(int) for name in parts) == 1).all()
    assert (groups["output robot"].sum(1) + (groups["changed"] & groups["changed"]).sum(1) > 0).all()
    assert groups["all"].all()
    assert not groups["none"].any()
    assert np.array_equal(groups["elsewhere"], ~groups["changed"])
    assert groups["last"][:, -1].all()
    assert groups["written"].any() == (kind == "written")
    assert not (groups["example 1"] & groups["example 2"]).any()
    if kind == "turned":
        assert (groups["changed"].sum(1) == 2).all()
        assert (groups["changed"] & groups["example 1"]).sum(1).tolist() == [1] * len(base)
    with pytest.raises(ValueError, match="no positions in common"):
        groups_of(tokenizer, base, other[:, 1:])


# Exchange


@pytest.mark.parametrize("layout", ["compact", "reference"])
@pytest.mark.parametrize("kind", ["turned", "written"])
def test_a_whole_swap_is_the_other_run_and_none_is_the_own(kind, layout):
    """Before the first block, everything swapped is the other prompt; nothing swapped is the own one."""
    tokenizer = Tokenizer(RECIPE, layout)
    exchange = Exchange(small_model(tokenizer), tokenizer, pairs_of(kind), 8, solved_only=False, batch_size=5)
    assert len(exchange) == 8
    whole = exchange.outcome(exchange.swapped(0, exchange.groups["all"]))
    assert whole.equal.all()
    np.testing.assert_allclose(whole.odds, exchange.odds(exchange.other_logits), atol=1e-4)
    none = exchange.outcome(exchange.swapped(0, exchange.groups["none"]))
    np.testing.assert_array_equal(none.odds, exchange.odds(exchange.logits))
    same = (exchange.actions == exchange.other_actions[:, : exchange.actions.shape[1]]).all(1)
    assert np.array_equal(none.equal, same)
    # What is written after the given actions is what whole decoding gives.
    rows = token_rows(tokenizer, exchange.pairs.base)
    assert np.array_equal(rows, exchange.tokens)
    assert rows.shape[1] == tokenizer.prompt_length + (rows[:, tokenizer.prompt_length :]).shape[1]


def test_beginnings_that_lead_elsewhere_are_refused(tokenizer):
    begun = np.array([[tokenizer.action_ids[0]], [tokenizer.end_id]])
    with pytest.raises(ValueError, match="different places of the grammar"):
        grammar_after(tokenizer, begun)


def test_a_model_that_solves_nothing_is_told_so(tokenizer):
    with pytest.raises(ValueError, match=r"solves both sides of none of the \d+ pairs \(turned\)"):
        Exchange(small_model(tokenizer), tokenizer, pairs_of("turned"))


def test_states_of_another_model_are_refused(exchange):
    with pytest.raises(ValueError, match="width"):
        exchange.outcome(
            Intervention.swap(
                torch.zeros(len(exchange), exchange.tokens.shape[1], 1, 16),
                layers=[1],
                positions=torch.arange(exchange.tokens.shape[1]),
            )
        )


# Scores


def test_intervals_hold_clusters_together():
    values = np.repeat([0.0, 1.0, 1.0, 0.0], 25)
    apart = interval(values, np.arange(100))
    together = interval(values, np.repeat([0, 1, 2, 3], 25))
    assert apart[0] == together[0] == 0.5
    assert together[2] - together[1] > 3 * (apart[2] - apart[1])
    mean, low, high = interval(np.zeros(100), np.arange(100))
    assert (mean, low) == (0, 0)
    assert high == pytest.approx(1 - 0.025 ** (1 / 100))
    assert interval(np.ones(50), np.repeat(np.arange(10), 5))[1] == pytest.approx(0.025 ** (1 / 10))
    assert interval(np.array([np.nan, 2.0, 4.0]), np.arange(3))[0] == 3
    assert np.isnan(interval(np.array([np.nan]), np.arange(1))).all()


def test_a_record_counts_what_was_written(exchange):
    n = len(exchange)
    obeys, keeps = np.arange(n) < 3, np.arange(n) == 5
    record = record_of(exchange, Outcome(obeys, keeps, obeys, np.full(n, np.nan)), kind="turned")
    assert record["obeys"] == pytest.approx(3 / n, abs=1e-6)
    assert record["damage"] == pytest.approx(1 - 4 / n, abs=1e-6)
    assert record["odds"] is None
    json.dumps(record, allow_nan=False)


# Subspaces


def test_labels_are_where_robots_face_and_how_far_they_turn(exchange):
    base, other = (labels_of(exchange, side, "direction") for side in ("base", "other"))
    assert base.shape == (len(exchange), 2)
    turned = (other - base)[:, 0] % 4
    assert np.array_equal(
        (labels_of(exchange, "base", "turn") - labels_of(exchange, "other", "turn"))[:, 0] % 4, turned
    )


def test_bases_are_orthonormal_and_of_their_rank(exchange):
    mask = exchange.groups["changed"]
    reading = Reading(exchange, 1, mask, "direction")
    matrix = torch.randn(32, 8, generator=torch.Generator().manual_seed(0))
    probe = ProbeWeights(((matrix, torch.zeros(8)),), torch.zeros(32), torch.ones(32), 2, 1, 4)
    for basis, rank in (
        (means_basis(reading), 6),
        (principal_basis(exchange, 1, mask, 5), 5),
        (probe_basis(probe), 6),
        (random_basis(32, 7, 0), 7),
    ):
        assert basis.shape == (rank, 32)
        torch.testing.assert_close(basis @ basis.mT, torch.eye(rank), atol=1e-4, rtol=0)
    # At the embedding a turned robot is another token, so the means' span holds all of the difference.
    reading = Reading(exchange, 0, mask, "direction")
    difference = (exchange.states("other", 0) - exchange.states("base", 0))[torch.from_numpy(mask)]
    basis = principal_basis(exchange, 0, mask, 3)
    torch.testing.assert_close((difference @ basis.mT) @ basis, difference, atol=1e-4, rtol=1e-4)


def test_along_a_probe_its_scores_change_places():
    generator = torch.Generator().manual_seed(1)
    layer = (torch.randn(32, 8, generator=generator), torch.randn(8, generator=generator))
    probe = ProbeWeights((layer,), torch.zeros(32), torch.rand(32, generator=generator) + 0.5, 2, 1, 4)
    states = torch.randn(50, 32, generator=generator)
    wanted = np.random.default_rng(0).integers(0, 4, (50, 2))
    present = probe.predict(states)[..., 0]
    scores = probe.logits(states)[:, :, 0].numpy()
    changed = probe.logits(states + probe_turn(probe, states, wanted))[:, :, 0].numpy()
    assert (present == wanted).mean() < 0.5
    np.testing.assert_array_equal(changed.argmax(-1), wanted)
    np.testing.assert_allclose(np.sort(changed, -1), np.sort(scores, -1), atol=2e-3)
    assert (probe_turn(probe, states, present) == 0).all()


def test_strangers_have_the_label_that_is_asked_for(exchange):
    mask, label = exchange.groups["changed"], labels_of(exchange, "other", "turn")[:, 0]
    states = exchange.states("other", 1)
    for alike in (True, False):
        source = strangers(exchange, mask, 1, 0, "turn", alike)
        assert torch.equal(source[torch.from_numpy(~mask)], exchange.states("base", 1)[torch.from_numpy(~mask)])
        for row in range(len(exchange)):
            here = source[row, np.flatnonzero(mask[row])]
            of = [i for i in range(len(exchange)) if torch.equal(states[i, np.flatnonzero(mask[i])], here)]
            if of:
                assert row not in of
                assert ((label[of] == label[row]) == alike).all()


# Rotations


def test_going_on_from_a_state_is_the_model_with_it_set(exchange):
    model = exchange.model
    tokens = torch.from_numpy(exchange.tokens)
    mask = exchange.groups["changed"]
    edit = exchange.swapped(1, mask)
    with torch.no_grad():
        expected = model(tokens, intervention=edit)
        _, states = model(tokens, Capture([1], torch.arange(tokens.shape[1])), intervention=edit)
        torch.testing.assert_close(logits_from(model, states[:, :, 0], 1, 3), expected[:, 3:], atol=1e-5, rtol=1e-5)


def test_a_rotation_learns_and_leaves_the_model_alone(exchange):
    mask, model = exchange.groups["changed"], exchange.model
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    start = random_basis(32, 4, 0)
    settings = {"ranks": (1, 4), "batch_size": 16, "learning_rate": 0.03}
    frame = learn_rotation(exchange, 1, mask, start, steps=40, **settings)
    torch.testing.assert_close(frame @ frame.mT, torch.eye(4), atol=1e-4, rtol=0)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.requires_grad for parameter in model.parameters())
    targets = other_programs(exchange)

    def loss(basis: torch.Tensor) -> float:
        rows = np.concatenate([exchange.tokens, np.maximum(targets, 0)], axis=1)
        with torch.no_grad():
            edit = exchange.swapped(1, mask, basis=basis)
            logits = model(torch.from_numpy(rows), intervention=edit, logits_from=exchange.tokens.shape[1] - 1)[:, :-1]
        wanted = torch.from_numpy(targets)
        return float(torch.nn.functional.cross_entropy(logits.flatten(0, 1), wanted.flatten(), ignore_index=-1))

    assert loss(frame) < loss(start)
    with pytest.raises(ValueError, match=r"rank 5: the frame has ranks 1\.\.4"):
        learn_rotation(exchange, 1, mask, start, steps=1, **{**settings, "ranks": (5,)})


# Erasure


def test_what_is_erased_cannot_be_read():
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(4, (600,), generator=generator)
    z = torch.eye(4)[labels]
    x = torch.randn(600, 3, 12, generator=generator)
    x[:, 1] += z @ torch.randn(4, 12, generator=generator) * 3  # the second token says it
    eraser, random = fit_eraser(x, z), fit_eraser(x, z, torch.Generator().manual_seed(1))
    assert eraser.rank.tolist() == random.rank.tolist() == [3, 3, 3]
    erased = eraser(x)
    crossed = torch.einsum("ntd,nz->tdz", erased - erased.mean(0), z - z.mean(0)) / 600
    assert crossed.abs().max() < 1e-4
    assert readable(x, z, x, z, 4)[1] > 0.95
    assert readable(erased, z, erased, z, 4).max() < 0.35
    assert readable(random(x), z, random(x), z, 4)[1] > 0.6
    torch.testing.assert_close(eraser(erased), erased, atol=1e-3, rtol=1e-3)
    # It moves states least of all that do: an orthogonal projection off the means moves them further.
    span = torch.linalg.svd((z - z.mean(0)).mT @ (x[:, 1] - x[:, 1].mean(0)), full_matrices=False).Vh[:3]
    moved = ((x[:, 1] - x[:, 1].mean(0)) @ span.mT).norm() ** 2
    assert (erased - x)[:, 1].norm() ** 2 <= moved * 1.001


def test_tokens_that_never_vary_are_left_alone():
    x = torch.ones(50, 2, 6)
    eraser = fit_eraser(x, torch.eye(4)[torch.arange(50) % 4])
    assert eraser.rank.tolist() == [0, 0]
    assert torch.equal(eraser(x), x)


def test_erasing_layers_of_a_model(tokenizer):
    work = Erasing(
        small_model(tokenizer), tokenizer, generate(RECIPE, "train", 0, 80), generate(RECIPE, "test", 0, 20), seed=0
    )
    records = work.records([0, 1])
    assert [(r["method"], r["layers"]) for r in records] == [
        ("nothing", []), *((method, layers) for layers in ([0], [1], [0, 1]) for method in METHODS)
    ]  # fmt: skip
    json.dumps(records, allow_nan=False)
    for record in records[1:]:
        assert 0 < record["variance"] < 1


# The whole set


SMALL = SteerConfig(
    kinds=("turned", "written"), ranks=(1, 4), choice_pairs=6, map_pairs=6, test_pairs=10, train_pairs=30,
    rotation_steps=4, rotation_batch=8, erased=12, erasure_train=40, given=GIVEN, test_start=500,
)  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory, tokenizer):
    path = tmp_path_factory.mktemp("run")
    card = {"recipe": RECIPE.to_json(), "recipe_hash": RECIPE.hash, "layout": "compact"}
    write_snapshot(path, 100, small_model(tokenizer), card)
    return path


def test_a_model_that_solves_nothing_still_has_its_erasure(run, tmp_path):
    path = steer_snapshot(run, choose_snapshots(run)[0], SMALL)
    stored = json.loads(path.read_text())
    assert {r["experiment"] for r in stored["records"]} == {"erasure"}
    assert [note.split(":")[0] for note in stored["notes"]] == ["turned", "written"]
    path.unlink()


def test_the_whole_set_goes_on_where_it_stopped(run, monkeypatch):
    # An untrained model solves nothing, so all pairs are kept.
    monkeypatch.setattr(experiment, "Exchange", partial(Exchange, solved_only=False))
    snapshot, stages = choose_snapshots(run)[0], []

    def stop(stage, done, total):
        stages.append(stage)
        assert done <= total
        if stage == "turned: subspaces":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        steer_snapshot(run, snapshot, SMALL, progress=stop)
    pieces = {path.stem for path in RunFolder(run).pieces("steering", 100).glob("*.json")}
    assert pieces == {"map-turned", "map-written", "choice-turned", "rotation-turned"}
    stages = []
    path = steer_snapshot(run, snapshot, SMALL, progress=lambda stage, done, total: stages.append((stage, done, total)))
    assert not any("layers x tokens" in stage for stage, _, _ in stages)
    counted = [(done, total) for stage, done, total in stages if stage == "turned: subspaces"]
    assert counted[-1][0] == counted[-1][1]
    assert not RunFolder(run).pieces("steering", 100).exists()
    stored = json.loads(path.read_text())
    assert set(stored["sites"]) == {"turned"}
    of = {r["experiment"] for r in stored["records"]}
    assert of == {"interchange", "choice", "subspace", "erasure"}
    controls = {r["method"] for r in stored["records"] if r.get("control")}
    assert controls >= {"random", "noise", "rotation, wrong layer", "rotation, wrong tokens", "untrained model"}
    steer_snapshot(run, snapshot, SMALL, progress=lambda *_: pytest.fail("done already"))
    # The same settings at the command line find it done.
    words = ["steer", str(run)]
    for name, value in SMALL.to_json().items():
        text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
        words += [f"--{name.replace('_', '-')}", text]
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert done.exit_code == 0
    assert "obeys: programs (%)" in done.stdout
    assert done.stdout.strip().endswith("steering/step-000100.json")
    done = CliRunner().invoke(app, [*words, "--json"], catch_exceptions=False)
    assert json.loads(done.stdout)["records"] == stored["records"]


def test_sites_are_chosen_where_most_obey(exchange):
    def record(layer, group, obeys):
        return {"layer": layer, "group": group, "obeys": obeys}

    records = [
        record(0, "changed", 1.0), record(1, "changed", 0.0), record(0, "output world", 0.0), record(1, "output world", 0.95),
        record(0, "elsewhere", 0.0), record(1, "elsewhere", 0.97), record(0, "input", 0.0), record(1, "input", 0.1),
        record(0, "all", 1.0), record(1, "all", 1.0), record(0, "none", 0.0),
    ]  # fmt: skip
    site = choose_site(records, exchange.groups, 0.9)
    assert (site.layer, site.group, site.wrong_group) == (1, "output world", "changed")
    deeper = [*records, record(2, "output world", 0.2), record(3, "output world", 0.1)]
    assert choose_site(deeper, exchange.groups, 0.9).wrong_layer == 3
    assert choose_site(records, exchange.groups, 1.0).group == "elsewhere"
    assert choose_site([r for r in records if r["layer"] == 0], exchange.groups, 0.9).group == "changed"


def test_controls_change_no_state_of_the_right_tokens(exchange):
    """Each row edits what it says it does."""
    site = choose_site(
        [{"layer": layer, "group": group, "obeys": float(group == "output world" and layer)} for layer in (0, 1)
         for group in ("changed", "output world", "input")], exchange.groups, 0.9,
    )  # fmt: skip
    frames = {"learned": random_basis(32, 4, 1), "learned elsewhere": random_basis(32, 4, 2)}
    rows = list(subspace_rows(exchange, exchange, site, frames, (1, 4), 0))
    assert len({(w["method"], w.get("source"), w["rank"], w["layer"], w["group"]) for w, _ in rows}) == len(rows)
    for what, edit in rows:
        assert list(edit.layers) == [what["layer"]]
        base = exchange.states("base", what["layer"])
        outside = torch.from_numpy(~exchange.groups[what["group"]])
        assert torch.equal(edit.values[:, :, 0][outside], base[outside])
        if edit.basis is not None:
            assert edit.basis.shape[1] == what["rank"]


def test_wrong_settings(run, tokenizer):
    model = small_model(tokenizer)
    for config, message in (
        (SteerConfig(layers=(0, 2)), r"layers has 2: of this model, states 0\.\.1"),
        (SteerConfig(ranks=(4, 33)), "ranks has 33: this model's states have 32 dimensions"),
    ):
        with pytest.raises(InputError, match=message):
            check_model(config, model)
    for change, message in (
        ({"kinds": ("tuned",)}, "did you mean 'turned'"),
        ({"kinds": ()}, "kinds is empty"),
        ({"kinds": ("moved",)}, "which is none of kinds"),
        ({"subspace_kinds": ("moved",)}, "only in turned and written pairs do robots face elsewhere"),
        ({"ranks": ()}, "ranks is empty"),
        ({"ranks": (0,)}, "ranks is 0"),
        ({"layers": ()}, "layers is empty"),
        ({"layers": "most"}, "layers is 'most'"),
        ({"map_pairs": 0}, "map_pairs is 0"),
        ({"carries": 1.5}, "carries is 1.5"),
    ):
        with pytest.raises(ValueError, match=message):
            SteerConfig(**change)
    done = CliRunner().invoke(app, ["steer", str(run), "--step", "7"])
    assert "no snapshot of step 7" in str(done.exception)
