"""What counts as the source of a result."""

import pytest

from focal_curvature.sources import closure, content_hash


def names(*modules):
    return {str(file).rpartition("focal_curvature/")[2] for file in closure(*modules)}


def test_training_needs_its_loop_and_not_the_figures():
    found = names("focal_curvature.training")
    assert {"training/loop.py", "training/schedule.py", "data/tensors.py", "runs.py"} <= found
    assert not any(f.startswith(("plotting", "analysis", "curvature", "config")) for f in found)


def test_training_needs_the_bins_but_not_the_temperature():
    found = names("focal_curvature.training")
    assert "calibration/binning.py" in found
    assert "calibration/temperature.py" not in found


def test_a_figure_needs_what_it_draws_with():
    found = names("focal_curvature.plotting.trace")
    assert {"plotting/trace.py", "plotting/curvature.py", "plotting/common.py"} <= found
    assert "plotting/reliability.py" not in found


def test_foreign_modules_are_refused():
    with pytest.raises(ValueError, match="no_such"):
        closure("focal_curvature.no_such")


def test_content_hash_sees_content_and_order(tmp_path):
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_text("1")
    b.write_text("2")
    before = content_hash([a, b])
    assert content_hash([b, a]) != before
    a.write_text("3")
    assert content_hash([a, b]) != before
