"""Files that are whole or absent, and errors that name the file."""

from __future__ import annotations

import gzip
import json
import os
import re
from pathlib import Path

import pytest

from karel_fast.support.checks import InputError
from karel_fast.support.checksums import check_named
from karel_fast.support.files import check_apart, read_json, read_json_if_whole, write_folder, write_json, write_text
from karel_fast.support.stored import stored


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
    with pytest.raises(ValueError, match=r"x\.json: (not valid JSON|holds a JSON|it is not text)"):
        read_json(path)
    assert read_json_if_whole(path) is None


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"x\.json"):
        read_json(tmp_path / "x.json")
    assert read_json_if_whole(tmp_path / "x.json") is None


def test_text_keeps_its_line_ends(tmp_path):
    write_text(tmp_path / "x", "one\r\ntwo\n")
    assert (tmp_path / "x").read_bytes() == b"one\r\ntwo\n"


def test_outputs_stay_apart_from_inputs(tmp_path):
    (tmp_path / "a").write_text("")
    (tmp_path / "link").symlink_to("a")
    here = {"--data": tmp_path / "a", "--recipe": '{"height": 8' + " " * 5000 + "}", "--other": None}
    check_apart({"--svg": tmp_path / "b", "--gif": tmp_path / "c", "--out": None}, here)
    for again in (tmp_path / "a", tmp_path / "x" / ".." / "a", tmp_path / "link"):
        with pytest.raises(
            InputError, match=r"--out .* would replace --data, which is the same file; name another one"
        ):
            check_apart({"--out": again}, here)
    with pytest.raises(InputError, match=r"--gif .*new would replace --svg, which is the same file"):
        check_apart({"--svg": tmp_path / "new", "--gif": str(tmp_path / "new")}, {})


def test_a_folder_in_a_file_s_place_is_named(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError) as error:
        write_text(tmp_path / "folder", "text")
    assert error.value.filename == str(tmp_path / "folder")
    assert not list(tmp_path.glob(".*"))


def test_a_folder_that_cannot_be_replaced_stays(tmp_path, monkeypatch):
    write_folder(tmp_path / "x", lambda folder: (folder / "a").write_text("old"))
    replace = os.replace

    def refused(source, target):
        if Path(target) == tmp_path / "x" and ".new." in str(source):
            raise OSError(5, "Input/output error")
        replace(source, target)

    monkeypatch.setattr(os, "replace", refused)
    with pytest.raises(OSError, match="Input/output error"):
        write_folder(tmp_path / "x", lambda folder: (folder / "a").write_text("new"))
    assert (tmp_path / "x" / "a").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_stored_pieces_are_what_their_files_hold(tmp_path):
    for _ in range(2):
        assert stored(tmp_path / "x.json", {"of": (1, 2)}, lambda: {"rows": ((1, 2),)}) == {"rows": [[1, 2]]}


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


def test_every_flip_in_a_json_file_is_found(tmp_path):
    path = tmp_path / "x.json"
    write_json(path, {"step": 3, "accuracy": 0.25, "records": [{"a": None, "b": [True, "é"]}]})
    good, value = path.read_bytes(), read_json(path)
    for at in range(len(good)):
        for bit in range(8):
            content = bytearray(good)
            content[at] ^= 1 << bit
            path.write_bytes(content)
            found = read_json_if_whole(path)
            # A flip in its white space, or of the key's name, leaves the same values; nothing else passes.
            assert found is None or {key: found[key] for key in value} == value, (at, bit)


def test_a_json_file_without_a_checksum_is_read(tmp_path):
    (tmp_path / "x.json").write_text('{"step": 3}')
    assert read_json(tmp_path / "x.json") == {"step": 3}


def test_what_is_written_again_has_one_checksum(tmp_path):
    write_json(tmp_path / "x.json", {"a": 1})
    write_json(tmp_path / "y.json", read_json(tmp_path / "x.json"))
    assert (tmp_path / "x.json").read_bytes() == (tmp_path / "y.json").read_bytes()
    assert list(json.loads((tmp_path / "x.json").read_text())) == ["a", "sha256"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{}".encode("utf-16"), "it is text in UTF-16"),
        (gzip.compress(b"{}"), "it is compressed by gzip"),
        (b"PAR1\xff", "it is a Parquet file"),
        (b'{"a": "\xe9"}', "it is not text in UTF-8 (byte 7 is 0xe9)"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not valid JSON"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path, content, says):
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(ValueError, match=rf"x\.json: .*{re.escape(says)}"):
        read_json(tmp_path / "x.json")


def test_a_byte_order_mark_is_no_fault(tmp_path):
    (tmp_path / "x.json").write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert read_json(tmp_path / "x.json") == {"a": 1}


def test_named_files_are_inside_the_folder(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "secret").write_text("1")
    for name in ("../secret", str(tmp_path / "secret")):
        with pytest.raises(ValueError, match="outside the folder"):
            check_named(tmp_path / "a", {"files": {name: "0"}})
