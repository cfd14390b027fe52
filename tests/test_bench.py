"""The table of `karel-fast bench`, from rows as the benchmarks' `compare` fixture makes them."""

from __future__ import annotations

from karel_fast.cli import bench


def row(comparisons: list[dict], target_rate: float | None = None) -> dict:
    return {"name": "a row", "rate": 2e6, "unit": "things/s", "target_rate": target_rate, "comparisons": comparisons}


def beside(ratio: float | None, target: float | None, at_least: bool, unit: str) -> dict:
    return {"with": "a peer", "ratio": ratio, "target": target, "at_least": at_least, "unit": unit}


def lines(capsys, *rows: dict) -> list[str]:
    bench._print_table(list(rows), "small")
    return [line for line in capsys.readouterr().out.splitlines() if line.startswith("│")]


def test_targets_are_met_or_not(capsys):
    fast, slow, share, zero, absent = lines(
        capsys,
        row(
            [
                beside(4.2, 4.0, True, "x as fast"),
                beside(1.2, 1.03, False, "x its time"),
                beside(0.4, 1.0, False, " %"),
                beside(0, 0, False, ""),
                beside(None, 3.0, True, "x as fast"),
            ]
        ),
    )
    assert "4.2x as fast" in fast
    assert ">= 4x as fast" in fast
    assert "yes" in fast
    assert "1.2x its time" in slow
    assert "no" in slow.split("│")[-2]
    assert "0.4 %" in share
    assert "yes" in share
    assert "yes" in zero
    assert "not installed" in absent
    assert absent.split("│")[-2].strip() == ""


def test_a_rate_has_a_target_too(capsys):
    missed, together = lines(capsys, row([], 3e6), row([beside(2.0, 1.0, True, "x as fast")], 3e6))
    assert ">= 3 M things/s" in missed
    assert missed.split("│")[-2].strip() == "no"
    assert together.split("│")[-2].strip() == "no"  # both are to be met


def test_the_machine_and_settings_are_said(capsys):
    bench._print_machine({"size": "small", "backends": ["cpp"], "settings": {"model": {"config": {"n_layer": 4}}}})
    assert capsys.readouterr().out == "machine: size small, backends cpp\nmodel: config (n_layer 4)\n"
