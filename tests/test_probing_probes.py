"""Probes that are trained together: what they find, how they are chosen, and that they do not know of one another."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from karel_fast.probing.probes import network as module
from karel_fast.probing.probes.training import (
    DEPTHS,
    SCHEDULES,
    TEST,
    TRAIN,
    UNUSED,
    VALIDATION,
    ProbeConfig,
    Task,
    train_probes,
)

SMALL = {"linear": (), "mlp1": (16,), "mlp2": (16, 24)}


def encoded(rows: int, width: int = 24, noise: float = 0.3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """States that hold a direction per world (2 worlds) linearly, among noise; labels (rows, 2, 1)."""
    rng = np.random.default_rng(seed)
    direction = rng.integers(0, 4, (rows, 2))
    code = rng.normal(size=(8, width))
    states = np.eye(4)[direction].reshape(rows, 8) @ code + noise * rng.normal(size=(rows, width))
    return states.astype(np.float32), direction[..., None].astype(np.int8)


def parts_of(rows: int) -> np.ndarray:
    return np.select([np.arange(rows) % 5 < 3, np.arange(rows) % 5 == 3], [TRAIN, VALIDATION], TEST)


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    states, labels = encoded(3000)
    return states, labels, parts_of(3000)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_linear_states_are_read_and_random_ones_are_not(data, precision):
    states, labels, parts = data
    rng = np.random.default_rng(5)
    noise = rng.integers(0, 4, labels.shape).astype(np.int8)
    noise[rng.random(labels.shape) < 0.4] = 2
    tasks = [Task({"feature": "encoded"}, labels, 4), Task({"feature": "noise"}, noise, 4)]
    config = ProbeConfig(least_steps=300, batch_size=128, precision=precision)
    for result in train_probes(states, tasks, parts, depths=SMALL, seeds=(0, 1), config=config):
        if result.key["feature"] == "encoded":
            assert result.accuracy > 0.98
            assert result.joint > 0.96
            assert result.majority < 0.35
        else:
            assert result.majority == pytest.approx(0.55, abs=0.04)
            assert abs(result.accuracy - result.majority) < 0.06


def test_hidden_layers_read_what_a_linear_probe_cannot():
    rng = np.random.default_rng(0)
    states = rng.normal(size=(4000, 8)).astype(np.float32)
    labels = ((states[:, 0] > 0) ^ (states[:, 1] > 0)).astype(np.int8)[:, None, None]
    config = ProbeConfig(epochs=25, batch_size=128, learning_rate=1e-2)
    linear, deep = train_probes(
        states, [Task({}, labels, 2)], parts_of(4000), depths={"linear": (), "mlp1": (32,)}, seeds=(0,), config=config
    )
    assert linear.accuracy < 0.6
    assert deep.accuracy > 0.93


def test_linear_probe_agrees_with_scikit_learn(data):
    states, labels = encoded(6000, noise=1.6, seed=3)
    parts = parts_of(6000)
    config = ProbeConfig(batch_size=256, weight_decay=0.0)
    tasks = [Task({"world": w}, labels[:, w : w + 1], 4) for w in (0, 1)]
    for result in train_probes(states, tasks, parts, depths={"linear": ()}, seeds=(0,), config=config):
        train, test = parts == TRAIN, parts == TEST
        mean, std = states[train].mean(0), states[train].std(0)
        x = (states - mean) / std
        y = labels[:, result.key["world"], 0]
        independent = LogisticRegression(max_iter=500, C=1e4).fit(x[train], y[train]).score(x[test], y[test])
        assert 0.5 < independent < 0.97, "too easy or too hard to tell anything"
        assert result.accuracy == pytest.approx(independent, abs=0.012)


def test_gradients_are_autograd_s():
    """The written-out backward pass of each depth against torch's own, masked labels included."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    states = torch.randn(40, 6)
    labels = rng.integers(-1, 3, (40, 2, 2)).astype(np.int8)
    data = module.Data.build(states, [torch.arange(40)] * 3, ProbeConfig(), torch.device("cpu"))
    for hidden in ((), (5,), (5, 7)):
        sizes = (6, *hidden, 12)
        network = module.Network(sizes, (0, 1), 2, 40, data)
        x = module.per_probe(torch.stack([data.inputs[0]] * 2), 2)
        logits = network.forward(x, network.outputs)
        stacked = torch.from_numpy(np.stack([labels.reshape(40, 4), np.roll(labels, 1, 0).reshape(40, 4)], 1))
        network.backward(x, module.loss_gradient(logits, torch.stack([stacked] * 2), 3))

        matrices = [m.clone().requires_grad_() for m in network.matrices]
        biases = [b.clone().requires_grad_() for b in network.biases]
        h = x
        for layer, (matrix, bias) in enumerate(zip(matrices, biases, strict=True)):
            h = torch.baddbmm(bias, h.relu() if layer else h, matrix)
        loss = sum(
            torch.nn.functional.cross_entropy(h[p].view(-1, 3), stacked[:, p % 2].reshape(-1).long(), ignore_index=-1)
            for p in range(4)
        )
        loss.backward()
        for ours, theirs in zip((*network.matrices, *network.biases), (*matrices, *biases), strict=True):
            torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_results_do_not_depend_on_company(data, precision):
    """A probe alone, and among others and other seeds in other groups: the same scores and weights."""
    states, labels, parts = data
    rng = np.random.default_rng(2)
    tasks = [Task({"task": i}, np.roll(labels, i, 0) if i else labels, 4) for i in range(5)]
    tasks.append(Task({"task": 5}, rng.integers(0, 2, (3000, 2, 2)).astype(np.int8), 2))
    settings = {"depths": SMALL, "keep_weights": True}
    config = ProbeConfig(epochs=3, least_steps=1, batch_size=100, precision=precision)
    crowd = train_probes(states, tasks, parts, seeds=(0, 1, 2), config=config, **settings)
    by_name = {(r.key["task"], r.depth, r.seed): r for r in crowd}
    for company in (tasks[:1], tasks[2:3], tasks[1:4]):
        tight = ProbeConfig(epochs=3, least_steps=1, batch_size=100, precision=precision, group_bytes=200_000)
        for alone in train_probes(states, company, parts, seeds=(1,), config=tight, **settings):
            among = by_name[alone.key["task"], alone.depth, 1]
            assert alone == among
            for (one, _), (other, _) in zip(alone.weights.layers, among.weights.layers, strict=True):
                torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_seeds_are_real(data):
    states, labels, parts = data
    tasks = [Task({}, labels, 4)]
    config = ProbeConfig(epochs=1, least_steps=1, batch_size=100)
    one, other = train_probes(
        states, tasks, parts, depths={"linear": ()}, seeds=(0, 1), config=config, keep_weights=True
    )
    assert not torch.equal(one.weights.layers[0][0], other.weights.layers[0][0])
    again = train_probes(states, tasks, parts, depths={"linear": ()}, seeds=(0,), config=config, keep_weights=True)
    assert torch.equal(one.weights.layers[0][0], again[0].weights.layers[0][0])


def test_the_epoch_is_chosen_on_validation_rows_alone(data):
    """Ruining every test label changes the test score, and nothing else."""
    states, labels, parts = data
    ruined = labels.copy()
    ruined[parts == TEST] = (labels[parts == TEST] + 1) % 4
    config = ProbeConfig(epochs=4, batch_size=100)
    good, bad = (
        train_probes(states, [Task({}, y, 4)], parts, depths={"mlp1": (16,)}, seeds=(0,), config=config)[0]
        for y in (labels, ruined)
    )
    assert (good.epoch, good.validation) == (bad.epoch, bad.validation)
    assert good.accuracy > 0.9 > 0.1 > bad.accuracy


def test_unused_rows_and_test_rows_do_not_move_the_standardisation(data):
    states, labels, parts = data
    moved = states.copy()
    moved[parts == TEST] *= 100
    parts = parts.copy()
    parts[::7] = UNUSED
    moved[parts == UNUSED] = 1e6
    result = train_probes(moved, [Task({}, labels, 4)], parts, depths={"linear": ()}, seeds=(0,), keep_weights=True)[0]
    train = states[parts == TRAIN]
    np.testing.assert_allclose(result.weights.mean, train.mean(0), atol=1e-5)
    np.testing.assert_allclose(result.weights.std, train.std(0), rtol=1e-4)


def test_kept_weights_predict_what_was_scored(data):
    states, labels, parts = data
    for result in train_probes(
        states,
        [Task({}, labels, 4)],
        parts,
        depths=SMALL,
        seeds=(3,),
        config=ProbeConfig(epochs=2, least_steps=1),
        keep_weights=True,
    ):
        said = result.weights.predict(states[parts == TEST])
        assert (said == labels[parts == TEST]).all(-1).mean() == pytest.approx(result.accuracy, abs=2e-3)


def test_masked_labels_are_neither_learnt_nor_scored(data):
    states, labels, parts = data
    half = labels.copy()
    half[::2] = -1
    result = train_probes(states, [Task({}, half, 4)], parts, depths={"linear": ()}, seeds=(0,))[0]
    assert result.rows == tuple(int(((parts == p) & (half[:, 0, 0] >= 0)).sum()) for p in (TRAIN, VALIDATION, TEST))
    assert result.accuracy > 0.95


def test_constant_units_do_no_harm(data):
    states, labels, parts = data
    states = np.concatenate([states, np.full((3000, 1), 7, np.float32)], 1)
    result = train_probes(states, [Task({}, labels, 4)], parts, depths={"linear": ()}, seeds=(0,))[0]
    assert result.accuracy > 0.98


def test_a_task_without_validation_rows_keeps_its_last_epoch_in_any_company(data):
    states, labels, parts = data
    unchecked = np.where((parts == VALIDATION)[:, None, None], np.int8(-1), labels)
    tasks = [Task({"task": "checked"}, labels, 4), Task({"task": "unchecked"}, unchecked, 4)]
    settings = {"depths": {"linear": ()}, "seeds": (0,), "config": ProbeConfig(epochs=4, least_steps=1, batch_size=20)}
    among = train_probes(states, tasks, parts, **settings)[1]
    assert among == train_probes(states, tasks[1:], parts, **settings)[0]
    assert (among.validation, among.epoch) == (None, 4)
    assert among.accuracy > 0.98


def test_the_majority_of_several_heads_is_their_most_frequent_answer_together():
    """Of (0, 0) 4, (0, 1) 3, (1, 2) 3, (2, 2) 3 rows each head's own most frequent class is 0 and 2, an answer that never occurs."""
    answers = np.array([(0, 0)] * 4 + [(0, 1)] * 3 + [(1, 2)] * 3 + [(2, 2)] * 3, np.int8)[:, None]
    labels = np.concatenate([answers] * 3)
    parts = np.repeat([TRAIN, VALIDATION, TEST], len(answers))
    states = np.random.default_rng(0).normal(size=(len(labels), 3)).astype(np.float32)
    result = train_probes(states, [Task({}, labels, 3)], parts, depths={"linear": ()}, seeds=(0,), keep_tallies=True)[0]
    assert result.majority == pytest.approx(4 / 13)
    assert result.tally.majority.tolist() == [1] * 4 + [0] * 9


class TestWrongInput:
    def task(self, labels: np.ndarray, classes: int = 4) -> Task:
        return Task({"feature": "direction"}, labels, classes)

    def one(self, states, labels, parts, classes=4, **options):
        return train_probes(states, [self.task(labels, classes)], parts, depths={"linear": ()}, seeds=(0,), **options)[
            0
        ]

    def test_class_absent_from_training(self, data):
        states, labels, parts = data
        labels = np.where((parts == TRAIN)[:, None, None] & (labels == 3), -1, labels)
        result = self.one(states, labels, parts)
        assert "classes 3 of the test rows are absent from the training rows" in result.note
        assert result.accuracy is not None

    def test_fewer_rows_than_classes(self, data):
        states, labels, _ = data
        parts = np.full(len(states), TEST)
        parts[:3], parts[3:50] = TRAIN, VALIDATION
        assert "only 3 training rows for 4 classes" in self.one(states, labels, parts).note

    @pytest.mark.parametrize("part", [TRAIN, VALIDATION, TEST])
    def test_a_part_without_rows(self, data, part):
        states, labels, parts = data
        result = self.one(states, labels, np.where(parts == part, UNUSED, parts))
        assert result.note
        assert (result.accuracy is None) == (part in (TRAIN, TEST))
        assert (result.validation is None) == (part in (TRAIN, VALIDATION))

    def test_no_rows_at_all(self):
        result = self.one(np.empty((0, 5), np.float32), np.empty((0, 2, 1), np.int8), np.empty(0, int))
        assert result.accuracy is None
        assert "no training row" in result.note

    def test_only_some_labels_masked_everywhere(self, data):
        states, labels, parts = data
        result = self.one(states, np.full_like(labels, -1), parts)
        assert (result.accuracy, result.majority, result.epoch) == (None, None, None)

    def test_states_that_are_not_finite(self, data):
        states, labels, parts = data
        states = states.copy()
        states[0, 0] = np.nan
        with pytest.raises(ValueError, match="not finite"):
            self.one(states, labels, parts)

    def test_shapes_and_settings(self, data):
        states, labels, parts = data
        with pytest.raises(ValueError, match="labels 10 rows, but there are 3000"):
            self.one(states, labels[:10], parts)
        with pytest.raises(ValueError, match="from 0 to 3, outside"):
            self.task(labels, 3)
        with pytest.raises(ValueError, match="3 axes"):
            self.task(labels[..., 0])
        with pytest.raises(ValueError, match="seeds must differ"):
            train_probes(states, [self.task(labels)], parts, seeds=(1, 1))
        with pytest.raises(ValueError, match="epochs is 0; give a whole number of at least 1"):
            ProbeConfig(epochs=0)
        with pytest.raises(ValueError, match="precision must be"):
            ProbeConfig(precision="float16")


def test_progress_counts_every_probe_once(data):
    states, labels, parts = data
    done: list[int] = []
    tasks = [Task({"i": i}, labels, 4) for i in range(3)]
    config = ProbeConfig(epochs=1, least_steps=1, group_bytes=60_000)
    results = train_probes(states, tasks, parts, depths=SMALL, seeds=(0, 1), config=config, progress=done.append)
    assert sum(done) == len(results) == 3 * len(SMALL) * 2
    assert len(done) > 6, "groups were not split: this tests nothing"


def test_few_rows_are_gone_through_more_often(data):
    states, labels, parts = data
    few = np.where(np.arange(3000) < 400, parts, UNUSED)
    one, many = (
        train_probes(states, [Task({}, labels, 4)], few, depths={"linear": ()}, seeds=(0,), config=config)[0]
        for config in (ProbeConfig(least_steps=1), ProbeConfig(least_steps=600))
    )
    assert one.epoch <= 6 < many.epoch
    assert one.accuracy + 0.1 < many.accuracy


def test_the_paper_s_sizes():
    assert DEPTHS == {"linear": (), "mlp1": (256,), "mlp2": (256, 1024)}


class Published(torch.nn.Module):
    """The published code's probe, of torch's own parts: Linear, ReLU, BatchNorm1d, .. (probe/model.py)."""

    def __init__(self, network, probe: int) -> None:
        super().__init__()
        layers: list[torch.nn.Module] = []
        for layer, (matrix, bias) in enumerate(zip(network.matrices, network.biases, strict=True)):
            inputs, outputs = matrix.shape[1:]
            if layer:
                norm = torch.nn.BatchNorm1d(inputs)
                with torch.no_grad():
                    norm.weight.copy_(network.normalizations[layer - 1].scale[probe, 0])
                    norm.bias.copy_(network.normalizations[layer - 1].shift[probe, 0])
                layers += [torch.nn.ReLU(), norm]
            linear = torch.nn.Linear(inputs, outputs)
            with torch.no_grad():
                linear.weight.copy_(matrix[probe].T)
                linear.bias.copy_(bias[probe, 0])
            layers.append(linear)
        self.layers = torch.nn.Sequential(*layers)

    def forward(self, x):
        return self.layers(x)


@pytest.mark.parametrize("hidden", [(), (5,), (5, 7)])
def test_batch_normalization_is_torch_s(hidden):
    """Training scores, every gradient, running statistics and scoring, against BatchNorm1d and autograd."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    states = torch.randn(90, 6)
    labels = rng.integers(-1, 3, (90, 2, 2)).astype(np.int8)
    data = module.Data.build(states, [torch.arange(90)] * 3, ProbeConfig(), torch.device("cpu"))
    network = module.Network((6, *hidden, 12), (0, 1), 2, 30, data, normalized=True)
    for norm in network.normalizations:
        norm.scale.uniform_(0.5, 1.5)
        norm.shift.uniform_(-1, 1)
    published = [Published(network, p) for p in range(4)]
    stacked = torch.from_numpy(np.stack([labels.reshape(90, 4), np.roll(labels, 1, 0).reshape(90, 4)], 1))
    for start in (0, 30, 60):  # the running statistics follow three minibatches
        rows = slice(start, start + 30)
        x = module.per_probe(torch.stack([data.inputs[0][rows]] * 2), 2)
        logits = network.forward(x, network.outputs)
        network.backward(x, module.loss_gradient(logits, torch.stack([stacked[rows]] * 2), 3))
        for p, one in enumerate(published):
            one.zero_grad()
            scores = one(x[p])
            torch.testing.assert_close(logits[p], scores, rtol=1e-4, atol=1e-5)
            torch.nn.functional.cross_entropy(
                scores.view(-1, 3), stacked[rows, p % 2].reshape(-1).long(), ignore_index=-1
            ).backward()
            for layer, linear in enumerate(one.layers[0::3]):
                for ours, theirs in ((network.matrices[layer].grad[p].T, linear.weight.grad),
                                     (network.biases[layer].grad[p, 0], linear.bias.grad)):  # fmt: skip
                    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
            for layer, norm in enumerate(one.layers[2::3]):
                mine = network.normalizations[layer]
                for ours, theirs in ((mine.scale.grad, norm.weight.grad), (mine.shift.grad, norm.bias.grad),
                                     (mine.running_mean, norm.running_mean), (mine.running_variance, norm.running_var)):  # fmt: skip
                    torch.testing.assert_close(ours[p, 0], theirs, rtol=1e-4, atol=1e-6)
    network.refresh(scoring=True)
    x = module.per_probe(torch.stack([data.inputs[0][:7]] * 2), 2)
    for p, one in enumerate(published):
        torch.testing.assert_close(network.forward(x)[p], one.eval()(x[p]), rtol=1e-4, atol=1e-5)


PAPER = ProbeConfig(
    epochs=12, least_steps=1, batch_size=128, learning_rate=0.02, weight_decay=0.2, schedule="exponential",
    normalization="batch", best_on_test=True,
)  # fmt: skip


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_published_training_reads_what_hidden_layers_can(precision):
    states, labels = encoded(3000, noise=0.5, seed=5)
    parts = parts_of(3000)
    config = replace(PAPER, precision=precision)
    results = train_probes(
        states, [Task({}, labels, 4)], parts, depths=SMALL, seeds=(0,), config=config, keep_weights=True
    )
    for result in results:
        assert result.accuracy > 0.9
        assert result.best_on_test >= result.accuracy
        rows = parts == TEST
        answers = result.weights.predict(states[rows])
        right = float((answers == labels[rows]).all(-1).mean())
        # Folded matrices are rounded once more in bfloat16.
        assert right == pytest.approx(result.accuracy, abs=1e-9 if precision == "float32" else 5e-3)


def test_normalized_probes_do_not_depend_on_company(data):
    states, labels, parts = data
    tasks = [Task({"task": i}, np.roll(labels, i, 0) if i else labels, 4) for i in range(4)]
    config = replace(PAPER, epochs=2)
    crowd = train_probes(states, tasks, parts, depths=SMALL, seeds=(0, 1), config=config)
    alone = train_probes(states, tasks[2:3], parts, depths=SMALL, seeds=(1,), config=config)
    assert alone == [r for r in crowd if r.seed == 1 and r.key["task"] == 2]


def test_the_exponential_schedule_is_the_published_one():
    """150 decays by 5 % over the run, however long; a run of fewer steps decays at each."""
    rate = SCHEDULES["exponential"]
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.95)
    total = 9_765
    for step in range(total):
        if step in (0, 64, 65, 5000, total - 1):
            assert rate(step, total) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-6)
        optimizer.step()
        if (step + 1) % (total // 150) == 0:
            scheduler.step()
    assert rate(3, 10) == pytest.approx(0.95**3)
