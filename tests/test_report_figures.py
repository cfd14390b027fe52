"""How figures are drawn: colours, panels, points, ticks, whiskers and legends."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import fake_run
import pytest

from karel_fast.analysis.series import Run
from karel_fast.report import plots, probe_figures, style, training_figures
from karel_fast.report.edit_figures import edit_ranks_plot
from karel_fast.report.intervention_figures import interventions_plot
from karel_fast.report.narrow import panels_of, stack
from karel_fast.report.points import points_of
from karel_fast.report.style import render, styled
from karel_fast.runs.folder import RunFolder
from karel_fast.support.files import read_json, write_json


def test_more_meanings_than_colours(tmp_path):
    run = fake_run.make(tmp_path / "run", snapshots=2, seeds=1, examples=0)
    for path in (run / "probing").glob("*.json"):
        records = [record for record in read_json(path)["records"] if record["semantics"] == "original"]
        names = ("original", *(f"map{k}" for k in range(7)))
        write_json(path, {"records": [{**record, "semantics": name} for name in names for record in records]})
    drawn = interventions_plot(Run.read(RunFolder(run)))
    assert len(names) > len(style.PALETTE)
    (legend,) = drawn.figure.legends
    assert {text.get_text() for text in legend.get_texts()} >= set(names)
    for ax in drawn.figure.axes:
        assert [line.get_label() for line in ax.lines if line.get_label() in names] == list(names)


def test_seeds_are_means_over_everything_else():
    records = [
        {
            "feature": f, "offset": 0, "semantics": "original", "labels": "true", "states": "trained", "layer": 0,
            "depth": "linear", "seed": s, "accuracy": v,
        }
        for f, s, v in (("a", 1, 0.2), ("b", 1, 0.4), ("a", 0, 0.6), ("b", 0, None))
    ]  # fmt: skip
    run = Run("r", {}, [], {}, {5: {"records": records}}, {}, {}, [])
    assert run.by_seed(5) == pytest.approx([0.6, 0.3])
    assert run.values(5, feature="b") == [0.4]
    assert run.names("feature") == ["a", "b"]


def test_panels_are_stacked_for_a_phone(tmp_path):
    run = Run.read(RunFolder(fake_run.make(tmp_path / "run", layers=[0, 1, 2], examples=0)))
    for make in (training_figures.phases_plot, probe_figures.layers_plot, probe_figures.probes_plot):
        with styled():
            figure = make(run).figure
            before = panels_of(figure)
            stack(figure)
        figure.draw_without_rendering()
        boxes = [ax.get_position() for ax in before]
        assert panels_of(figure) == before
        for above, below in itertools.pairwise(boxes):
            assert above.y0 > below.y1
        assert all(ax.get_xlabel() and ax.get_ylabel() and ax.get_title(loc="left") for ax in before)


def test_points_say_what_is_drawn(tmp_path):
    run = Run.read(RunFolder(fake_run.make(tmp_path / "run", snapshots=4, seeds=2, layers=[0, 1, 2], examples=0)))
    for make, count in ((training_figures.phases_plot, 4), (probe_figures.layers_plot, 3)):
        with styled():
            figure = make(run).figure
        render(figure, "name")
        panels = points_of(figure, run.steps)["panels"]
        assert len(panels) == count
        for panel in panels:
            left, top, right, bottom = panel["box"]
            assert panel["at"] == sorted(panel["at"])
            assert len(panel["at"]) == 4
            assert {point[3] for point in panel["points"]} >= {0, 1, 2, 3}
            for x, y, _, index in panel["points"]:
                assert left - 9 <= x <= right + 9
                assert top - 9 <= y <= bottom + 9
                assert index < 0 or x == pytest.approx(panel["at"][index], abs=0.2)
    cells = [point[2] for point in panels[0]["points"]]  # of the heat map
    accuracy = 100 * sum(run.by_seed(1200, feature="direction", depth="mlp2", layer=2)) / 2
    assert f"layer 2: {accuracy:.1f}, step 1200" in cells
    last = run.evaluated("generative_accuracy")[-1]
    with styled():
        figure = training_figures.phases_plot(run).figure
    render(figure, "name")
    texts = [point[2] for point in points_of(figure, run.steps)["panels"][0]["points"]]
    assert f"accuracy, shown worlds: {100 * last:.1f} %, step 1200" in texts


def colours(css: str) -> list[dict[str, str]]:
    """The page's colours by name: those of a light page, a dark one, a printed one."""
    light, dark, *printed = (
        dict(re.findall(r"--([\w-]+): (#\w+)", block)) for block in re.findall(r":root \{([^}]*)\}", css)
    )
    return [light, {**light, **dark}, {**light, **{k: v for one in printed for k, v in one.items()}}]


def luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """WCAG 2's ratio."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_contrast():
    """Text has 4.5 to 1 on both grounds of every scheme; series 3 to 1, and 4.5 to 1 where it is dark."""
    schemes = colours((Path(style.__file__).parent / "page.css").read_text())
    assert len(schemes) == 3
    for scheme, least in zip(schemes, (3, 4.5, 3), strict=True):
        for name in ("ink", "faint", "accent", "right", "wrong"):
            for ground in ("ground", "panel"):
                assert contrast(scheme[name], scheme[ground]) >= 4.5, (name, ground, scheme)
        for index in range(len(style.PALETTE)):
            assert contrast(scheme[f"series-{index}"], scheme["ground"]) >= least, (index, scheme)


def test_seeds_that_agree_draw_whiskers_of_no_length():
    """(0.7 + 0.7 + 0.7) / 3 is not 0.7 in floating point, and matplotlib refuses negative lengths."""
    seeds = [0.7, 0.7, 0.7]
    middle = 100 * sum(seeds) / 3
    (below,), (above,) = plots.extents([middle], [[100 * v for v in seeds]])
    assert below >= 0
    assert above >= 0


def test_shares_without_an_interval_are_drawn_without_a_bar(tmp_path):
    path = fake_run.make(tmp_path / "run", snapshots=2, seeds=1, examples=0)
    (stored,) = (path / "steering").glob("*.json")
    value = read_json(stored)
    value["records"][:] = [{**r, **{k: None for k in r if k.endswith(("_low", "_high"))}} for r in value["records"]]
    whole = edit_ranks_plot(Run.read(RunFolder(path))).figure
    write_json(stored, value)
    bare = edit_ranks_plot(Run.read(RunFolder(path))).figure
    bars = [
        [len(segment) > 0 for ax in figure.axes for bar in ax.collections for segment in bar.get_segments()]
        for figure in (whole, bare)
    ]
    assert any(bars[0])
    assert not any(bars[1])
    bare.draw_without_rendering()


def test_ticks_say_the_number_they_stand_at():
    """22.5 % rounded to 22 beside 25 is a wrong axis."""
    assert [plots.as_percent(v) for v in (0.0, 0.2, 0.225, 0.21, -0.05)] == ["0", "20", "22.5", "21", "−5"]


def test_ideal_readers_are_drawn_where_their_axis_has_them(tmp_path):
    """The made-up reader of both is right in 95 %: on an axis of shares and on one in percent."""
    run = Run.read(RunFolder(fake_run.make(tmp_path, snapshots=2, seeds=1, examples=0)))
    for draw, height in ((probe_figures.offsets_plot, 0.95), (probe_figures.baselines_plot, 95)):
        for ax in draw(run).figure.axes[:3]:
            (line,) = (line for line in ax.lines if line.get_label() == probe_figures.CEILINGS["both"][0])
            assert list(line.get_ydata()) == pytest.approx([height] * len(line.get_ydata()))


def test_a_shared_legend_fits_into_its_figure(tmp_path):
    run = Run.read(RunFolder(fake_run.make(tmp_path, snapshots=2, seeds=1, examples=0)))
    for draw in (probe_figures.baselines_plot, probe_figures.offsets_plot, probe_figures.probes_plot):
        figure = draw(run).figure
        figure.canvas.draw()
        (legend,) = figure.legends
        box = legend.get_window_extent()
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.x1


def test_losses_of_other_targets_are_other_curves():
    """A run may end on the program alone; what an earlier version or somebody's own log says nothing of is one curve."""
    told = [(50, 0.3, "outputs"), (100, 0.2, "outputs"), (150, 0.9, "program"), (200, 0.8, "program")]
    log = [{"step": step, "loss": loss, "targets": targets} for step, loss, targets in told]
    (ax,) = training_figures.loss_plot(Run("r", {}, log, {}, {}, {}, {}, [])).figure.axes
    drawn = {line.get_label(): [*map(tuple, line.get_xydata())] for line in ax.lines}
    assert drawn == {
        "training, targets: outputs": [(50, 0.3), (100, 0.2)],
        "training, targets: program": [(150, 0.9), (200, 0.8)],
    }
    assert [text.get_text() for text in ax.get_legend().get_texts()] == list(drawn)
    for unknown in (None, [], "the weather"):
        log = [{"step": step, "loss": loss, "targets": unknown} for step, loss, _ in told]
        (ax,) = training_figures.loss_plot(Run("r", {}, log, {}, {}, {}, {}, [])).figure.axes
        assert [line.get_label() for line in ax.lines] == ["training"]
        assert ax.get_legend() is None


def test_series_are_told_apart_beyond_the_colours():
    looks = [style.look(index) for index in range(36)]
    assert len({tuple(map(str, each.values())) for each in looks}) == 36
    assert [each["marker"] for each in looks[:6]] == list(style.MARKERS)  # as in figures that are kept
