import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from critic_probe.errors import CriticProbeError
from critic_probe.report.files import dump_json, to_json, write_result
from critic_probe.report.targets import check_path


def refuse(constant):
    raise AssertionError(f"{constant} is not JSON")


@pytest.mark.parametrize(
    ("command", "tables"),
    [
        ("compare", ["summary", "statistics", "lengths", "contrasts", "categories", "baselines", "pairs"]),
        ("perturb", ["summary", "headline", "contrasts", "cases", "not_measured"]),
        ("trace", ["tokens", "scores"]),
    ],
)
def test_json_holds_every_record_under_the_names_of_its_table(command, tables, request):
    result = request.getfixturevalue(command)
    data = json.loads(dump_json(result), parse_constant=refuse)
    assert data["schema"] == f"critic-probe/{command}/1"
    for table in tables:
        frame = getattr(result, table)
        assert [list(record) for record in data[table]] == [list(frame.columns)] * len(frame)
        for record, row in zip(data[table], frame.itertuples(index=False), strict=True):
            assert list(record.values()) == [
                None if not isinstance(value, list) and pd.isna(value) else value for value in row
            ]
    assert [(w["code"], w["message"], w["ids"]) for w in data["warnings"]] == [
        (notice.code, notice.message, list(notice.ids)) for notice in result.notices
    ]
    assert data["signature"]["data"] == result.signature["data"]


def test_json_is_strict_and_readable(compare):
    summary = compare.summary.assign(
        sd=[np.inf, -np.inf, np.nan, np.float32(0.5)], counted=pd.array([1, None, 3, 4], "Int64")
    )
    text = dump_json(replace(compare, summary=summary, signature={"a": np.int64(3), "b": (1, np.nan)}))
    data = json.loads(text, parse_constant=refuse)
    assert [record["sd"] for record in data["summary"]] == [None, None, None, 0.5]
    assert [record["counted"] for record in data["summary"]] == [1, None, 3, 4]
    assert data["signature"] == {"a": 3, "b": [1, None]}
    assert "，" in text


def test_trace_json_holds_the_prompt(trace):
    assert to_json(trace)["prompt"] == trace.prompt


@pytest.mark.parametrize(("command", "table"), [("compare", "pairs"), ("perturb", "cases"), ("trace", "tokens")])
def test_tables_come_back_as_they_were(command, table, request, tmp_path):
    result = request.getfixturevalue(command)
    frame = getattr(result, table)
    write_result(tmp_path / "x.csv", result)
    write_result(tmp_path / "x.PARQUET", result)
    for back in (
        pd.read_csv(tmp_path / "x.csv"),
        pd.read_parquet(tmp_path / "x.PARQUET"),
    ):
        pd.testing.assert_frame_equal(
            back.astype(object).where(back.notna(), None).replace("", None),
            frame.astype(object).where(frame.notna(), None).replace("", None),
        )
    write_result(tmp_path / "x.json", result)
    assert json.loads((tmp_path / "x.json").read_text("utf-8"))[table] == to_json(result)[table]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.PARQUET", "x.csv", "x.json"]


def test_csv_keeps_text_exact(compare, tmp_path):
    texts = ["=1+1", "+a", "-b", "@c", 'quo"te', "line\r\nbreak"]
    compare = replace(compare, pairs=compare.pairs[:6])
    write_result(tmp_path / "x.csv", replace(compare, pairs=compare.pairs.assign(id=texts)))
    with open(tmp_path / "x.csv", encoding="utf-8", newline="") as file:
        assert pd.read_csv(file)["id"].tolist() == texts


@pytest.mark.parametrize("suffix", [".json", ".csv", ".parquet"])
def test_lone_surrogates_become_replacement_characters(suffix, compare, tmp_path):
    path = tmp_path / f"x{suffix}"
    pairs = compare.pairs.assign(id=pd.Series(["a\ud83db"] * len(compare.pairs), dtype=object))
    write_result(path, replace(compare, pairs=pairs))
    readers = {".csv": pd.read_csv, ".parquet": pd.read_parquet}
    if suffix == ".json":
        ids = [pair["id"] for pair in json.loads(path.read_text("utf-8"))["pairs"]]
    else:
        ids = readers[suffix](path)["id"].tolist()
    assert ids == ["a\ufffdb"] * len(compare.pairs)


def test_a_path_that_cannot_be_written_is_refused_before_and_after(compare, tmp_path):
    for path, message in [
        (tmp_path / "x.xlsx", r"x\.xlsx: cannot tell the format from '\.xlsx'; use \.json, \.csv, \.parquet"),
        (tmp_path / "x", "cannot tell the format"),
        (tmp_path / "no" / "x.json", "its directory does not exist"),
        (tmp_path / ("x" * 300 + ".json"), "cannot be written"),
    ]:
        with pytest.raises(CriticProbeError, match=message):
            write_result(path, compare)
    (tmp_path / "d.json").mkdir()
    with pytest.raises(CriticProbeError, match="is a directory"):
        check_path(tmp_path / "d.json")
    assert [path.name for path in tmp_path.iterdir()] == ["d.json"]


def test_a_write_that_fails_leaves_the_old_file(compare, tmp_path, monkeypatch):
    path = tmp_path / "x.json"
    path.write_text("old")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", fail)
    with pytest.raises(CriticProbeError, match=r"x\.json: cannot be written \(No space left on device\)"):
        write_result(path, compare)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
