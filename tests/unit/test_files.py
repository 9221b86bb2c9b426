import csv
import json
import os

import pytest

from focal_curvature.files import write_atomically, write_csv, write_json


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "a"
    target.write_text("old")
    with pytest.raises(RuntimeError), write_atomically(target) as stream:
        stream.write(b"new, and a lot of it" * 10_000)
        raise RuntimeError
    assert target.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["a"]


def test_the_target_does_not_exist_until_it_is_whole(tmp_path):
    target = tmp_path / "deep" / "a"
    with write_atomically(target) as stream:
        stream.write(b"half")
        assert not target.exists()
    assert target.read_bytes() == b"half"


def test_files_obey_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        with write_atomically(tmp_path / "a") as stream:
            stream.write(b"x")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


def test_json_refuses_what_is_not_json(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    write_json(tmp_path / "a.json", {"x": [1, None]})
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": [1, None]}


def test_csv_without_rows_still_has_its_header(tmp_path):
    write_csv(tmp_path / "a.csv", [], columns=["x", "y"])
    assert (tmp_path / "a.csv").read_text() == "x,y\n"
    write_csv(tmp_path / "b.csv", [{"x": 0.1, "y": None}])
    with (tmp_path / "b.csv").open() as stream:
        assert list(csv.DictReader(stream)) == [{"x": "0.1", "y": ""}]
