"""Files that are whole or absent, and errors that name the file."""

from __future__ import annotations

import pytest

from karel_fast.support.files import read_json, read_json_if_whole, write_folder, write_json, write_text


def fail(_):
    raise RuntimeError("the disk is full")


def test_json_there_and_back(tmp_path):
    path = tmp_path / "new" / "x.json"
    write_json(path, {"a": [1, None, "é"]})
    assert read_json(path) == {"a": [1, None, "é"]}
    with pytest.raises(ValueError, match=r"x\.json: cannot be written as JSON"):
        write_json(path, {"a": float("nan")})
    assert read_json(path)["a"][0] == 1
    assert [other.name for other in path.parent.iterdir()] == ["x.json"]


@pytest.mark.parametrize("content", [b"", b'{"a": ', b"\xff", b"[]", b"3"])
def test_what_is_no_json_object(tmp_path, content):
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"x\.json: (not valid JSON|holds a JSON)"):
        read_json(path)
    assert read_json_if_whole(path) is None


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"x\.json"):
        read_json(tmp_path / "x.json")
    assert read_json_if_whole(tmp_path / "x.json") is None


def test_text_keeps_its_line_ends(tmp_path):
    write_text(tmp_path / "x", "one\r\ntwo\n")
    assert (tmp_path / "x").read_bytes() == b"one\r\ntwo\n"


def test_a_folder_is_replaced_whole(tmp_path):
    folder = tmp_path / "f"
    write_folder(folder, lambda path: (path / "old").write_text("1"))
    with pytest.raises(RuntimeError):
        write_folder(folder, fail)
    assert [path.name for path in folder.iterdir()] == ["old"]
    for leftover in (".f.new.tmp", ".f.old.tmp"):  # of a process that was killed
        (tmp_path / leftover).mkdir()
        (tmp_path / leftover / "half").write_text("")
    write_folder(folder, lambda path: (path / "new").write_text("2"))
    assert [path.name for path in folder.iterdir()] == ["new"]
    assert [path.name for path in tmp_path.iterdir()] == ["f"]
