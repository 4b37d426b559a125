"""What a file is, told by its content: compression, encodings, delimiters, datasets' directories."""

import bz2
import gzip
import json
import lzma
import os
import struct

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from critic_probe.errors import CriticProbeError
from critic_probe.pairs import RowFile, read_pairs

ROW = {"prompt": "What boils water? 水", "chosen": "A kettle.", "rejected": "An oven."}
LINES = (json.dumps(ROW, ensure_ascii=False) + "\n").encode() * 3
SHEET = "prompt,chosen,rejected\nWhat boils water? 水,A kettle.,An oven.\n".encode()


def zst(data):
    return pa.compress(data, codec="zstd", asbytes=True)


PACKERS = {".gz": gzip.compress, ".xz": lzma.compress, ".bz2": bz2.compress, ".zst": zst}


def check(pairs):
    assert {(pair.prompt, pair.student, pair.teacher) for pair in pairs} == {
        tuple(ROW[k] for k in ("prompt", "rejected", "chosen"))
    }


@pytest.mark.parametrize("packer", PACKERS)
@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".parquet"])
def test_compressed_files(tmp_path, packer, suffix):
    path = tmp_path / f"x{suffix}{packer}"
    if suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist([ROW]), tmp_path / "plain")
        data = (tmp_path / "plain").read_bytes()
    else:
        data = {".jsonl": LINES, ".json": json.dumps([ROW]).encode(), ".csv": SHEET}[suffix]
    path.write_bytes(PACKERS[packer](data))
    check(read_pairs(path))
    misnamed = tmp_path / f"y{suffix}"
    misnamed.write_bytes(PACKERS[packer](data))
    check(read_pairs(misnamed))


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".parquet"])
def test_a_file_by_its_uri(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    if suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist([ROW]), path)
    else:
        path.write_bytes(gzip.compress(LINES) if suffix.endswith("gz") else LINES)
    check(read_pairs(path.as_uri()))


@pytest.mark.parametrize(
    ("uri", "part"),
    [("file:///nowhere/x.jsonl", "no such file"), ("of-no-kind://b/x.jsonl", "cannot be opened (Unrecognized")],
)
def test_a_uri_that_leads_nowhere(uri, part):
    with pytest.raises(CriticProbeError) as told:
        read_pairs(uri)
    assert str(told.value).startswith(f"{uri}: ")
    assert part in str(told.value)


def test_a_large_compressed_file_streams(tmp_path):
    rows = "".join(json.dumps(ROW | {"id": i, "note": "x" * 100}) + "\n" for i in range(3000)).encode()
    for packer, pack in PACKERS.items():
        path = tmp_path / f"x.jsonl{packer}"
        path.write_bytes(pack(rows))
        assert len(read_pairs(path)) == 3000


@pytest.mark.parametrize("packer", PACKERS)
def test_a_broken_compressed_file(tmp_path, packer):
    packed = PACKERS[packer](LINES * 50)
    (tmp_path / f"x.jsonl{packer}").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(CriticProbeError, match=r"x\.jsonl\.\w+: cannot be decompressed \(.*\); write it anew"):
        read_pairs(tmp_path / f"x.jsonl{packer}")


def test_json_by_content(tmp_path):
    (tmp_path / "array.jsonl").write_text("\n [\n" + json.dumps(ROW, indent=1) + "\n]")
    (tmp_path / "lines.json").write_bytes(LINES)
    (tmp_path / "one.json").write_text(json.dumps({"data": [ROW]}))
    assert len(read_pairs(tmp_path / "array.jsonl")) == 1
    assert len(read_pairs(tmp_path / "lines.json")) == 3
    check(read_pairs(tmp_path / "one.json"))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_spreadsheets(tmp_path, encoding, mark):
    rows = [["prompt", "chosen", "rejected"], [ROW["prompt"], '"1,5; a"', ROW["rejected"]]]
    (tmp_path / "x.csv").write_text("\r\n".join(mark.join(row) for row in rows), encoding=encoding, newline="")
    [pair] = read_pairs(tmp_path / "x.csv")
    assert (pair.prompt, pair.teacher, pair.student) == (ROW["prompt"], "1,5; a", "An oven.")


def test_utf16_that_is_cut(tmp_path):
    (tmp_path / "x.csv").write_bytes(SHEET.decode().encode("utf-16")[:-1])
    with pytest.raises(CriticProbeError, match=r"x\.csv: not valid UTF-16 \(at offset \d+\); save the file as UTF-8"):
        read_pairs(tmp_path / "x.csv")


def save_to_disk(path, shards, schema=None):
    """What `datasets.Dataset.save_to_disk` writes: Arrow streams, and a state that names them."""
    path.mkdir()
    names = [f"data-{i:05d}-of-{len(shards):05d}.arrow" for i in range(len(shards))]
    for name, rows in zip(names, shards, strict=True):
        table = pa.Table.from_pylist(rows)
        with pa.ipc.new_stream(path / name, table.schema) as writer:
            writer.write_table(table)
    (path / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names]}))
    (path / "dataset_info.json").write_text("{}")
    return path


def test_a_dataset_that_was_saved_to_disk(tmp_path):
    pairs = read_pairs(save_to_disk(tmp_path / "saved", [[ROW, ROW], [ROW]]))
    check(pairs)
    assert [pair.id for pair in pairs] == ["row-1", "row-2", "row-3"]
    assert pairs[2].source.endswith("saved row 3")
    check(read_pairs(tmp_path / "saved" / "data-00001-of-00002.arrow"))


def test_splits_that_were_saved_together(tmp_path):
    save_to_disk(tmp_path / "train", [[ROW]])
    save_to_disk(tmp_path / "test", [[ROW]])
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    with pytest.raises(CriticProbeError, match="holds the splits test, train; name the directory of one"):
        read_pairs(tmp_path)


def test_a_directory_of_parquet_shards(tmp_path):
    for number in range(2):
        pq.write_table(pa.Table.from_pylist([ROW, ROW]), tmp_path / f"train-{number:05d}-of-00002-abc.parquet")
    pairs = read_pairs(tmp_path)
    check(pairs)
    assert len(pairs) == 4
    pq.write_table(pa.Table.from_pylist([ROW]), tmp_path / "test-00000-of-00001.parquet")
    with pytest.raises(CriticProbeError, match="holds the tables test, train; name one of their files"):
        read_pairs(tmp_path)


def test_a_directory_without_data_files(tmp_path):
    (tmp_path / "state.json").write_text("{}")
    with pytest.raises(CriticProbeError, match=r"state\.json: .*; save the dataset anew"):
        read_pairs(tmp_path)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "names no file"),
        (["lost.arrow"], "names 'lost.arrow', which is not there"),
        (["../outside.arrow"], "names 'outside.arrow', which is not there"),
    ],
)
def test_a_saved_dataset_holds_the_files_that_it_names(tmp_path, names, message):
    (tmp_path / "outside.arrow").write_bytes(b"")
    path = save_to_disk(tmp_path / "saved", [[ROW]])
    (path / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names]}))
    with pytest.raises(CriticProbeError, match=message):
        read_pairs(path)


def test_an_arrow_file_whose_texts_lie_beyond_it_is_told(tmp_path):
    """Followed unseen, such an offset ended the process."""
    path = save_to_disk(tmp_path / "saved", [[ROW]]) / "data-00000-of-00001.arrow"
    offsets = struct.pack("<ii", 0, len(ROW["rejected"]))
    path.write_bytes(path.read_bytes().replace(offsets, struct.pack("<ii", 0, 2**30)))
    with pytest.raises(CriticProbeError, match="not a readable Arrow file"):
        read_pairs(path)


def test_a_column_or_a_field_of_one_that_stands_twice_is_told(tmp_path):
    texts = [pa.array([text]) for text in ("p", "s", "t", "u")]
    pq.write_table(pa.Table.from_arrays(texts, ["prompt", "student", "teacher", "teacher"]), tmp_path / "x.parquet")
    with pytest.raises(CriticProbeError, match="holds the column 'teacher' twice"):
        read_pairs(tmp_path / "x.parquet")
    turn = pa.StructArray.from_arrays(texts[:3], ["role", "content", "content"])
    columns = [pa.ListArray.from_arrays([0, 1], turn), *texts[1:3]]
    pq.write_table(pa.Table.from_arrays(columns, ["prompt", "student", "teacher"]), tmp_path / "y.parquet")
    with pytest.raises(CriticProbeError, match="holds the column 'content' twice"):
        read_pairs(tmp_path / "y.parquet")


@pytest.mark.parametrize("change", ["append", "replace", "remove"])
def test_a_file_that_is_written_while_it_is_read_is_refused(tmp_path, change):
    """Of 82 pairs in one pass and 83 in another no figure would be of either."""
    path, line = tmp_path / "pairs.jsonl", '{"prompt": "p", "student": "s", "teacher": "t"}\n'

    def written():
        if change == "append":
            with path.open("a") as file:
                file.write(line)
        elif change == "replace":
            (tmp_path / "new").write_text(line * 2)
            (tmp_path / "new").replace(path)
        else:
            path.unlink()

    for between in (True, False):
        path.write_text(line * 2)
        rows = RowFile(path)
        assert len(list(rows)) == 2
        going = iter(rows)
        if not between:
            next(going)
        written()
        with pytest.raises(CriticProbeError, match=r"was changed while it was read|no such file"):
            list(going)


def test_a_pipe_is_to_be_given_on_stdin(tmp_path):
    os.mkfifo(tmp_path / "pipe.jsonl")
    with pytest.raises(CriticProbeError, match="a pipe, which cannot be read twice; give it as - on stdin"):
        RowFile(tmp_path / "pipe.jsonl")
