"""The report: whole from a whole run, honest from a broken one, and alive in a browser."""

from __future__ import annotations

import csv
import itertools
import json
import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from html import escape, unescape
from html.parser import HTMLParser
from pathlib import Path

import fake_run
import pytest

from karel_fast.analysis.series import Run
from karel_fast.report import plots, probe_figures, style, training_figures, write_report
from karel_fast.report.browser import example_html, world_svg
from karel_fast.report.intervention_figures import interventions_plot
from karel_fast.report.narrow import panels_of, stack
from karel_fast.report.points import points_of
from karel_fast.report.style import render, styled
from karel_fast.runs.folder import RunFolder, step_name
from karel_fast.support.files import read_json, write_json

FIGURES = (
    "phases", "probes", "regression", "offsets", "interventions", "differences", "layers", "baselines", "latent",
    "protocol", "edit-map", "edit-ranks", "text", "lengths", "draws", "floor", "loss",
)  # fmt: skip
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    return write_report(fake_run.make(tmp_path_factory.mktemp("runs") / "whole", layers=[0, 1, 2]))


class Page(HTMLParser):
    """Collects ids, tags that stay open, and what a page would fetch."""

    VOID = ("meta", "link", "br", "input")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.fetched: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)
        for name, value in attributes:
            if name == "id":
                self.ids.append(str(value))
            if name == "src" or (tag == "link" and name == "href"):
                self.fetched.append(str(value))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)
        if tag not in self.VOID:
            self.open.pop()


def test_the_page_is_whole_and_self_contained(report):
    text = report.read_text()
    page = Page(text)
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    assert set(FIGURES) | {"samples", "notes"} <= set(page.ids)
    assert page.fetched == ["data:,"]
    assert "url(http" not in text
    assert text.count("<svg") > len(FIGURES)
    assert len(text) < 5_000_000
    assert "nan" not in re.sub(r"[^a-z]+", " ", text.lower()).split()


def test_every_figure_has_its_files(report):
    for name in FIGURES:
        svg, png, table = (report.parent / "figures" / f"{name}.{suffix}" for suffix in ("svg", "png", "csv"))
        root = ElementTree.fromstring(svg.read_text())
        assert "nan" not in svg.read_text().lower().replace("dominant", "")
        assert root.tag.endswith("svg")
        assert png.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
        rows = list(csv.reader(table.read_text().splitlines()))
        assert len(rows) > 1
        assert len({len(row) for row in rows}) == 1
        assert "nan" not in table.read_text().lower()


def test_axes_say_their_units(report):
    for name in FIGURES:
        svg = (report.parent / "figures" / f"{name}.svg").read_text()
        assert re.search(r"\(%\)|\(percentage points\)|\(nats per token\)|\(actions\)", svg), name


def table_of(report: Path, name: str) -> list[dict[str, str]]:
    return list(csv.DictReader((report.parent / "figures" / f"{name}.csv").read_text().splitlines()))


def test_drawn_numbers_are_the_run_s(report):
    folder = RunFolder(report.parent.parent)
    step = max(folder.read_all("evaluation"))
    rows = table_of(report, "phases")
    assert float(rows[-1]["generative_accuracy"]) == folder.read_all("evaluation")[step]["generative_accuracy"]
    evaluation = folder.read_all("evaluation")[step]
    text = table_of(report, "text")[-1]
    assert float(text["written_perplexity"]) == evaluation["written_perplexity"]
    assert [float(text[f"output_loss_{k}"]) for k in (1, 2)] == evaluation["output_loss"]
    assert table_of(report, "text")[0]["equal"] == ""  # nothing was right yet
    lengths = table_of(report, "lengths")
    assert [row["right"] for row in lengths if row["length of"] == "written"] == ["500", "400"]
    shares = {row["name"]: row["share"] for row in table_of(report, "draws") if row["step"] == str(step)}
    assert float(shares["pass@4"]) == float(shares["pass_at_k 4"]) == evaluation["pass_at_k"]["4"]
    assert float(shares["beam search"]) == evaluation["beam_accuracy"]
    records = folder.read_all("probing")[step]["records"]
    rows = table_of(report, "offsets")
    [row] = [r for r in rows if (r["feature"], r["depth"], r["offset"]) == ("facing", "mlp1", "2")]
    mine = [
        r["accuracy"]
        for r in records
        if (r["feature"], r["depth"], r["offset"], r["semantics"]) == ("facing", "mlp1", 2, "original")
    ]
    assert float(row["mean"]) == pytest.approx(sum(mine) / len(mine))
    assert row["seeds"] == "3"
    known = {r["depth"]: r["mean"] for r in rows if (r["feature"], r["offset"]) == ("facing", "2")}
    assert float(known["ideal reader: both"]) == pytest.approx(0.95)
    known = {r["kind"]: r["mean"] for r in table_of(report, "baselines") if r["feature"] == "facing"}
    assert float(known["ideal reader: specification"]) == pytest.approx(0.7)
    assert float(table_of(report, "floor")[-1]["divergence"]) == evaluation["divergence"]


def test_latent_probing_is_drawn_and_said(report):
    rows = table_of(report, "latent")
    assert {row["outputs"] for row in rows} == {"shown", "space"}
    found = RunFolder(report.parent.parent).read_all("latent/space")
    for offset in (-1, 0):
        place = ("space", "direction", str(offset), "flip")
        [row] = [r for r in rows if (r["outputs"], r["feature"], r["offset"], r["semantics"]) == place]
        mine = [
            r["accuracy"]
            for r in next(iter(found.values()))["records"]
            if (r["feature"], r["depth"], r["offset"], r["semantics"]) == ("direction", "mlp2", offset, "flip")
            and (r["labels"], r["states"]) == ("true", "trained")
        ]
        assert float(row["mean"]) == pytest.approx(sum(mine) / len(mine))
    assert "Outputs left empty: learnt on actions 1, 2, tested on 3." in report.read_text()


def test_the_published_grid_is_drawn_and_said(report):
    rows = table_of(report, "protocol")
    found = next(iter(RunFolder(report.parent.parent).read_all("paper-grid").values()))["records"]
    assert len(rows) == 3 * 3 * 3 * 5  # features, depths, meanings, offsets
    for row in rows[::7]:
        mine = [
            r["lift"]
            for r in found
            if (r["feature"], r["depth"], r["semantics"], r["offset"])
            == (row["feature"], row["depth"], row["semantics"], int(row["offset"]))
            and (r["labels"], r["states"]) == ("true", "trained")
        ]
        assert len(mine) == int(row["seeds"]) == 3
        assert float(row["lift"]) == pytest.approx(sum(mine) / 3)
        assert float(row["lowest"]) == pytest.approx(min(mine))
    results = json.loads((report.parent / "results.json").read_text())
    assert len(results["paper"]["paper-grid"]) == 3 * 3 * 5


def test_results_are_written(report):
    results = json.loads((report.parent / "results.json").read_text())
    fits = {(r["depth"], r["lag"]): r["r2"] for r in table_of(report, "regression")}
    [found] = [
        f["r2"]
        for f in results["regression"]
        if (f["feature"], f["depth"], f["offset"], f["lag"], f["measure"]) == (None, "mlp1", 0, 0, "accuracy")
    ]
    assert float(fits["mlp1", "0"]) == pytest.approx(found)
    assert results["latent"].keys() == {"latent/shown", "latent/space"}
    assert f"R² = {found:.3f}" in report.read_text()


def test_the_same_run_gives_the_same_bytes(report, tmp_path):
    again = write_report(fake_run.make(tmp_path / "whole", layers=[0, 1, 2]))
    assert again.read_bytes() == report.read_bytes()
    for name in FIGURES:
        for suffix in ("svg", "png", "csv"):
            file = f"figures/{name}.{suffix}"
            assert (again.parent / file).read_bytes() == (report.parent / file).read_bytes(), file


def test_a_run_in_progress(tmp_path):
    """Half-written files, missing numbers and odd values: said, skipped, never drawn as if they were there."""
    run = fake_run.make(tmp_path / "run", snapshots=4, examples=2)
    (run / "evaluation" / f"{step_name(400)}.json").write_text('{"step": 400, "generative_acc')
    write_json(run / "evaluation" / f"{step_name(800)}.json", {"step": 800, "generative_accuracy": None, "samples": 0})
    (run / "probing" / f"{step_name(800)}.json").write_text("[]")
    log = (run / "metrics.jsonl").read_text()
    (run / "metrics.jsonl").write_text(log + '{"step": 1300, "loss": NaN}\n{"step": 13')
    examples = json.loads((run / "examples" / f"{step_name(1200)}.json").read_text())
    del examples["examples"][0]["worlds"]
    write_json(run / "examples" / f"{step_name(1200)}.json", examples)
    probing = json.loads((run / "probing" / f"{step_name(1200)}.json").read_text())
    for record in probing["records"]:
        if record["feature"] == "facing":
            record["accuracy"] = None
    probing["notes"] = ["train: the snapshot wrote no correct program"]
    write_json(run / "probing" / f"{step_name(1200)}.json", probing)
    text = write_report(run).read_text()
    for said in (
        "evaluation/step-000400.json is not whole",
        "probing/step-000800.json is not whole",
        "is not whole; it was left out",
        "examples/step-001200.json: 1 examples were not whole",
        "step 1200: train: the snapshot wrote no correct program",
        "no accuracy at step",
    ):
        assert said in text, said
    for file in (run / "report" / "figures").glob("*.csv"):
        assert "nan" not in file.read_text().lower()
    for file in (run / "report" / "figures").glob("*.svg"):
        assert not re.search(r"[^a-z]nan[^a-z]", file.read_text().lower()), file


@pytest.mark.parametrize("kept", ["metrics.jsonl", "evaluation", "probing"])
def test_parts_of_a_run(tmp_path, kept):
    """One kind of file alone still makes a report, which says what it lacks."""
    whole = fake_run.make(tmp_path / "whole", snapshots=3, seeds=1)
    run = tmp_path / "run"
    run.mkdir()
    (shutil.copytree if (whole / kept).is_dir() else shutil.copy)(whole / kept, run / kept)
    text = write_report(run).read_text()
    assert "Not shown:" in text
    assert text.count('<figure class="plot"') >= 1


def test_a_figure_that_is_no_longer_there_leaves_no_files(tmp_path):
    run = fake_run.make(tmp_path / "run", snapshots=3, seeds=2)
    write_report(run)
    assert (run / "report" / "figures" / "probes.png").exists()
    shutil.rmtree(run / "probing")
    write_report(run)
    assert not list((run / "report" / "figures").glob("probes.*"))


def test_more_meanings_than_colours(tmp_path):
    run = fake_run.make(tmp_path / "run", snapshots=2, seeds=1, examples=0)
    for path in (run / "probing").glob("*.json"):
        records = [record for record in read_json(path)["records"] if record["semantics"] == "original"]
        names = ("original", *(f"map{k}" for k in range(7)))
        write_json(path, {"records": [{**record, "semantics": name} for name in names for record in records]})
    assert interventions_plot(Run.read(RunFolder(run))).figure is not None


def test_nothing_to_report(tmp_path):
    with pytest.raises(FileNotFoundError, match="no run folder"):
        write_report(tmp_path / "none")
    with pytest.raises(ValueError, match="holds nothing to report"):
        write_report(tmp_path)


def test_names_are_escaped(tmp_path):
    run = fake_run.make(tmp_path / "<b>run", snapshots=3, seeds=1, examples=0)
    write_json(run / "config.json", {"note": "</pre><script>alert(1)</script>"})
    text = write_report(run).read_text()
    assert "<b>run" not in text
    assert text.count("<script>") == 1


def test_worlds_are_drawn_cell_by_cell():
    svg = ElementTree.fromstring(world_svg(["####", "#3v#", "#.1#", "####"], "a world"))
    paths = {p.get("class"): p for p in svg.iter("path")}
    assert paths["wall"].get("d").count("M") == 12
    assert paths["robot"].get("transform") == "translate(30 18) rotate(180)"
    assert [t.text for t in svg.iter("text")] == ["3"]
    assert len(list(svg.iter("circle"))) == 2


def test_readings_are_compared_world_by_world():
    import numpy as np

    example = fake_run.example(7, False, np.random.default_rng(0))
    example["reads"][0] = {"direction": {"truth": [["north"], ["-"]], "probe": [["east"], ["-"]]}}
    html = example_html(example, {"direction": "Direction"})
    assert "north → east ✗" in html
    assert "not probed" in html
    assert "✗ wrong" in html


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


LOOK = """
<script>{
const seen = (name) => [...document.querySelectorAll(name)].filter((one) => one.clientHeight > 0);
const letters = [...seen(".drawing")].flatMap((one) => [...one.querySelectorAll("text")].map((t) => t.getBoundingClientRect().height));
const first = seen(".drawing")[0];
first.focus();
first.dispatchEvent(new KeyboardEvent("keydown", {key: "ArrowRight"}));
const tip = document.getElementById("tip");
const said = tip.hidden ? "" : tip.textContent;
first.dispatchEvent(new KeyboardEvent("keydown", {key: "Escape"}));
const range = document.getElementById("snapshot");
range.value = 1;
range.dispatchEvent(new Event("input"));
const example = document.querySelector(".example");
const world = example.querySelectorAll(".io")[1];
world.dispatchEvent(new KeyboardEvent("keydown", {key: "Enter"}));
const walk = example.querySelector(".walk input");
walk.value = 1;
walk.dispatchEvent(new Event("input"));
const found = {
  ready: document.documentElement.dataset.ready, said, tip: tip.hidden,
  figures: seen(".drawing svg").length, broken: seen(".drawing svg").filter((s) => s.clientHeight < 99).length,
  wide: document.documentElement.scrollWidth > innerWidth, smallest: Math.min(...letters),
  chosen: document.querySelectorAll(".io.chosen").length, second: world.classList.contains("chosen"),
  row: example.querySelectorAll("tr.now").length, examples: document.querySelectorAll(".example").length,
  cursors: document.querySelectorAll("line.cursor").length, slider: document.querySelector("#slider output").textContent,
  readings: seen(".reading").length, large: world.querySelector("svg").clientWidth,
};
TITLE = JSON.stringify(found);
}</script></body>"""


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
@pytest.mark.parametrize("width", [1400, 390])
def test_in_a_browser(report, tmp_path, width):
    """Chromium runs the page's script to its end, and logs no error; figures, tooltips, both sliders and keys do what they should, on
    a wide page and on a phone's.
    """
    page = tmp_path / "page.html"
    text = report.read_text()
    if width == 1400:
        page.write_text(text.replace("</body>", LOOK.replace("TITLE", "document.title")))
    else:  # no window of Chromium's is as narrow; a frame is
        frame = escape(text.replace("</body>", LOOK.replace("TITLE", "parent.document.title")), quote=True)
        page.write_text(
            f'<title>-</title><iframe style="width: {width}px; height: 800px; border: 0" srcdoc="{frame}"></iframe>'
        )
    done = subprocess.run(
        [str(CHROMIUM), "--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--v=0",
         f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1400,900", "--virtual-time-budget=2000",
         "--dump-dom", page.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert "CONSOLE" not in done.stderr
    assert "Uncaught" not in done.stderr
    title = re.search(r"<title>(.*?)</title>", done.stdout)
    assert title is not None
    found = json.loads(unescape(title[1]))
    assert found["ready"] == "true"
    assert found["figures"] == len(FIGURES)
    assert found["broken"] == 0
    assert not found["wide"]
    assert found["smallest"] > 8  # pixels, a line of the smallest letters
    assert found["chosen"] == found["examples"] == 4
    assert found["second"]
    assert found["row"] == 1
    assert found["large"] > (150 if width == 1400 else 85)
    assert "step 0" in found["said"]
    assert found["tip"]
    assert found["slider"].startswith("step 400: ")
    assert found["cursors"] >= found["readings"] > 3


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
