"""Pictures of worlds and runs: whole, well-formed, and true to what they are of."""

from __future__ import annotations

import io
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

import karel_fast as kf
from karel_fast.cli import karel as commands
from karel_fast.karel.pictures import MOST_FRAMES, MOST_PIXELS, PIXELS, frame, run_gif, run_svg
from karel_fast.karel.svg import WORLDS_SHOWN

PROGRAM = "def run() { repeat (3) { if (front_is_clear()) { move() } else { turn_left() }; put_marker() } }"
WORLDS = ["######\n#>.2.#\n#..#.#\n######", "######\n#<.2.#\n#.9#.#\n######"]


@pytest.fixture
def worlds() -> kf.Worlds:
    return kf.Worlds.from_text(WORLDS)


def drawings(html: str) -> list[ElementTree.Element]:
    return [ElementTree.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", html)]


def counts(svg: ElementTree.Element) -> list[str]:
    return [text.text or "" for text in svg.iter("{http://www.w3.org/2000/svg}text") if text.get("class") == "count"]


def test_worlds_in_a_notebook(worlds: kf.Worlds) -> None:
    found = drawings(worlds._repr_html_())
    assert [counts(svg) for svg in found] == [["2"], ["2", "9"]]
    many = kf.Worlds.random(WORLDS_SHOWN + 3, seed=0)._repr_html_()
    assert len(drawings(many)) == WORLDS_SHOWN
    assert "and 3 more worlds" in many
    assert "more" not in worlds._repr_html_()
    assert drawings(worlds[:0]._repr_html_()) == []


def test_a_program_in_a_notebook() -> None:
    program = kf.parse("def run() { while (not front_is_clear()) { turn_left() } }")
    assert program._repr_html_() == f"<pre><code>{program}</code></pre>"


def test_runs_in_a_notebook(worlds: kf.Worlds) -> None:
    result = kf.run(PROGRAM, worlds, max_steps=5)
    html = result._repr_html_()
    assert len(drawings(html)) == 2
    assert "world 1: 5 steps, STEP_LIMIT" in html
    trace = kf.trace(PROGRAM, worlds, max_steps=5)
    html = trace._repr_html_()
    frames = drawings(html)
    assert len(frames) == 6  # a state before the first action and after each
    assert 'max="5"' in html
    for t in (0, 3, 5):
        assert f"after {t} of 5 actions" in html
    assert html.count('style="display:none"') == 5  # the last state is seen
    robots = [[e.get("transform") for e in svg.iter() if e.get("class") == "robot"] for svg in frames]
    assert robots[0] == ["translate(18 18) rotate(90)", "translate(18 18) rotate(270)"]
    assert kf.trace("def run() { }", worlds)._repr_html_().count("<svg") == 1
    assert "<svg" not in kf.trace("def run() { }", worlds[:0])._repr_html_()


def test_only_longer_runs_that_are_not_shown_are_no_cut(worlds: kf.Worlds) -> None:
    turning = kf.Worlds.from_text("#####\n#.>.#\n#####")
    blocked = kf.Worlds.from_text("#####\n#.#>#\n#####")
    many = kf.Worlds.concatenate([blocked] * 3 + [turning])
    html = kf.trace("def run() { while (front_is_clear()) { move() } }", many)._repr_html_()
    assert "after 0 of 0 actions" in html
    assert "The first" not in html


def test_no_runs_make_no_picture(worlds: kf.Worlds) -> None:
    none = worlds[:0]
    with pytest.raises(ValueError, match="no run to draw"):
        run_svg(none, kf.run(PROGRAM, none))
    pytest.importorskip("PIL.Image")
    with pytest.raises(ValueError, match="no run to draw"):
        run_gif(kf.trace(PROGRAM, none))


def test_a_file_of_runs(worlds: kf.Worlds) -> None:
    text = run_svg(worlds, kf.run(PROGRAM, worlds), kf.trace(PROGRAM, worlds))
    root = ElementTree.fromstring(text)
    assert len([e for e in root.iter() if e.get("class") == "robot"]) == 4
    assert len([e for e in root.iter() if e.get("class") == "way"]) == 2
    assert "before: row 1, column 1, west, 0 markers" in text


def test_an_animation(worlds: kf.Worlds) -> None:
    image = pytest.importorskip("PIL.Image")
    trace = kf.trace(PROGRAM, worlds)
    with image.open(io.BytesIO(run_gif(trace))) as opened:
        assert opened.n_frames == trace.steps.max() + 1
        assert opened.size == (13 * PIXELS, 4 * PIXELS)
    with pytest.raises(ValueError, match=f"take {MOST_FRAMES} actions; a GIF holds at most"):
        run_gif(kf.trace("def run() { while (front_is_clear()) { turn_left() } }", kf.Worlds.from_text(
            "#####\n#...#\n#.>.#\n#...#\n#####"), max_steps=MOST_FRAMES))  # fmt: skip


def test_the_arrow_looks_where_the_robot_does() -> None:
    worlds = kf.Worlds.from_text([f"###\n#{sign}#\n###" for sign in "^>v<"])
    tiles = [frame(worlds[i])[PIXELS : 2 * PIXELS, PIXELS : 2 * PIXELS] for i in range(4)]
    dark = [(tile.sum(axis=2) < 100) for tile in tiles]
    # The tip is narrow: the half that the robot looks to holds less of the arrow.
    half = PIXELS // 2
    assert dark[0][:half].sum() < dark[0][half:].sum()
    assert dark[1][:, half:].sum() < dark[1][:, :half].sum()
    assert dark[2][half:].sum() < dark[2][:half].sum()
    assert dark[3][:, :half].sum() < dark[3][:, half:].sum()
    np.testing.assert_array_equal(dark[1], np.rot90(dark[0], -1))


def test_the_command(tmp_path: Path) -> None:
    app = typer.Typer()
    commands.register(app)
    (tmp_path / "p").write_text(PROGRAM)
    (tmp_path / "w").write_text("\n\n".join(WORLDS))
    words = ["run", str(tmp_path / "p"), "--world", str(tmp_path / "w")]
    done = CliRunner().invoke(app, [*words, "--svg", str(tmp_path / "o.svg"), "--gif", str(tmp_path / "o.gif")])
    assert done.exit_code == 0
    assert "step " not in done.stdout  # the steps are drawn, and printed only with --trace
    assert (tmp_path / "o.svg").read_text().startswith("<svg")
    assert (tmp_path / "o.gif").read_bytes().startswith(b"GIF89a")
    with pytest.raises(ValueError, match="--animate needs a terminal; --gif FILE"):
        CliRunner().invoke(app, [*words, "--animate"], catch_exceptions=False)


def test_a_gif_that_would_be_too_wide():
    worlds = kf.Worlds.from_text(["####\n#>.#\n####"] * (MOST_PIXELS // (5 * PIXELS) + 2))
    with pytest.raises(ValueError, match=r"pixels wide; a GIF holds at most 65535: give fewer"):
        run_gif(kf.trace("def run() { move() }", worlds))
