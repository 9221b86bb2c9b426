"""Files that were changed or cut short behind our back are refused, and named."""

import errno
import json
import os

import numpy as np
import pytest
import torch

from focal_curvature.data import splits
from focal_curvature.files import exclusive, read_json, verify, write_atomically
from focal_curvature.weights import load_checkpoint, load_weights, save_weights

SPLITS = {name: np.arange(10) + 10 * i for i, name in enumerate(splits.SPLITS)}


@pytest.mark.parametrize("name", splits.SPLITS)
def test_a_split_that_lost_an_image_is_refused(tmp_path, name):
    file = tmp_path / "splits.json"
    splits.write(file, SPLITS)
    assert (splits.read(file)[name] == SPLITS[name]).all()
    content = json.loads(file.read_text())
    content[name].pop()
    file.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"splits\.json: indices do not match .*delete it and run"):
        splits.read(file)


def test_splits_cut_short_are_refused(tmp_path):
    file = tmp_path / "splits.json"
    splits.write(file, SPLITS)
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"splits\.json: cannot be read .*: delete it and run"):
        splits.read(file)


def test_a_bit_flipped_in_weights_or_a_checkpoint_is_found(tmp_path, caplog):
    """Whichever it is: torch.load itself returns other numbers without a word."""
    file = tmp_path / "checkpoint.pt"
    save_weights(file, {"fingerprint": "a", "weight": torch.zeros(1000)})
    assert load_checkpoint(file, "a")
    content = file.read_bytes()
    for place in range(content.index(b"\0" * 4000), content.index(b"\0" * 4000) + 4000, 500):
        file.write_bytes(content[:place] + b"\1" + content[place + 1 :])
        assert torch.load(file, weights_only=True)["weight"].any()
        with pytest.raises(ValueError, match=r"checkpoint\.pt: cannot be read"):
            load_weights(file)
        caplog.clear()
        assert load_checkpoint(file, "a") is None
        (line,) = caplog.messages
        assert line.startswith(f"{file}: cannot be read (")
        assert line.endswith("is damaged): training starts anew")


@pytest.mark.parametrize("length", [0, 1, 100, -1])
def test_weights_cut_short_are_refused(tmp_path, length):
    file = tmp_path / "model.pt"
    save_weights(file, {"weight": torch.zeros(1000)})
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(ValueError, match=r"model\.pt: cannot be read .*: delete it and run again"):
        load_weights(file)


@pytest.mark.parametrize("content", [b"", b'{"a": ', b"\xff\xfe"])
def test_a_record_cut_short_is_named(tmp_path, content):
    (tmp_path / "run.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"run\.json: cannot be read .*: delete it and run again"):
        read_json(tmp_path / "run.json")


def test_a_changed_file_is_named_with_the_remedy(tmp_path):
    (tmp_path / "a").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"a: sha256 is .*, expected 0: delete it and run again"):
        verify(tmp_path / "a", "0")


def test_a_full_disk_is_told_with_the_file(tmp_path):
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    told = pytest.raises(OSError, match=r"No space left on device: '.*/a'")
    with told, write_atomically(tmp_path / "a"):
        raise full
    assert not [*tmp_path.iterdir()]


def test_what_killed_writers_left_is_cleared_and_nothing_else(tmp_path):
    for name in (".model.pt.abcdefgh.part", "checkpoint.pt", ".hidden"):
        (tmp_path / name).touch()
    with exclusive(tmp_path):
        assert sorted(file.name for file in tmp_path.iterdir()) == [".hidden", "checkpoint.pt"]
