import pytest

from focal_curvature.analysis import cost_table

HEADER = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"
FILES = {
    "a": "10\t0:00:10\t300.5\t1\t1\t1\t1\t1\t90\t8.5\n",
    "b": "20\t0:00:20\t200.0\t1\t1\t1\t1\t1\t90\t19\n",
    "c": "5\t0:00:05\t100\t1\t1\t1\t1\t1\t90\t4\n",
    "short": "0.04\t0:00:00\t-\t-\t-\t-\t-\t-\t0\tNA\n",
}


def test_cost_is_summed_by_stage_and_extrapolated_by_run(tmp_path):
    for name, row in FILES.items():
        tmp_path.joinpath(name).write_text(HEADER + row)
    jobs = cost_table.read(
        [
            ("train", "cnn", tmp_path / "a"),
            ("train", "cnn", tmp_path / "b"),
            ("train", "mlp", tmp_path / "c"),
            ("tables", "", tmp_path / "short"),
        ]
    )
    table = cost_table.cost(jobs, {"cnn": 6, "mlp": 2}, ["train"])
    cnn, mlp, tables = (row for _, row in table.iterrows())
    assert list(cnn[["jobs", "wall_s", "peak_mb"]]) == [2, 30, 300.5]
    assert cnn["wall_s_per_run"] == 5
    assert cnn["wall_h_bigger"] == pytest.approx(1000 * 5 / 3600)
    assert mlp["wall_s_per_run"] == 2.5
    assert tables["wall_s"] == 0.04
    assert tables[["peak_mb", "wall_s_per_run"]].isna().all()
    printed = cost_table.printed(table)
    assert list(printed.iloc[-1][:5]) == ["all", "", "4", "35.0", "300"]
    assert list(printed["Wall s per run"]) == ["5.00", "2.50", "", ""]
