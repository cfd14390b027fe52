"""The report of a whole run: self-contained, with the run's numbers, and alive in a browser."""

from __future__ import annotations

import csv
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

from karel_fast.report import write_report
from karel_fast.report.browser import example_html, world_svg
from karel_fast.runs.folder import RunFolder

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


def test_drawn_falls_of_lift_are_the_run_s(report):
    folder = RunFolder(report.parent.parent)
    probing = folder.read_all("probing")
    records = probing[max(probing)]["records"]
    layers = sorted({r["layer"] for r in records if r["layer"] != "mean"}) or ["mean"]

    def lift(layer, meaning: str, states: str = "trained") -> float:
        wanted = ("direction", "mlp2", layer, 0, meaning, "true", states)
        names = ("feature", "depth", "layer", "offset", "semantics", "labels", "states")
        found = [r["lift"] for r in records if tuple(r[name] for name in names) == wanted]
        return sum(found) / len(found)

    drawn = {
        r["measure"]: float(r["mean"])
        for r in table_of(report, "differences")
        if (r["feature"], r["depth"], r["semantics"]) == ("direction", "mlp2", "flip")
    }
    falls = {
        layer: (
            lift(layer, "original") - lift(layer, "flip"),
            lift(layer, "original", "untrained") - lift(layer, "flip", "untrained"),
        )
        for layer in layers
    }
    trained, untrained = falls[layers[-1]]
    assert drawn["lift"] == pytest.approx(trained)
    assert drawn["lift, trained - untrained"] == pytest.approx(trained - untrained)


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
    for meaning in ("original", "flip"):
        [row] = [
            r
            for r in rows
            if (r["outputs"], r["feature"], r["offset"], r["semantics"]) == ("space", "direction", "0", meaning)
        ]
        fresh = [
            r["accuracy"]
            for r in next(iter(found.values()))["records"]
            if (r["feature"], r["depth"], r["offset"], r["semantics"]) == ("direction", "mlp2", 0, meaning)
            and (r["labels"], r["states"]) == ("true", "untrained")
        ]
        assert float(row["untrained"]) == pytest.approx(sum(fresh) / len(fresh))
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
