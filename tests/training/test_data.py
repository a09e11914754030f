"""Sample files: the same samples whatever the packing, lines kept, memory flat, bad lines refused; sizes of global batches."""

from __future__ import annotations

import gzip
import json
import tracemalloc

import pytest

from reasonembed.dataset.samples import read_samples, sample_row
from reasonembed.errors import DataError
from reasonembed.training.config import parse_train_config
from reasonembed.training.data import SampleFile, open_datasets
from reasonembed.types import TrainingSample

SAMPLES = [
    TrainingSample(f"question {n} ä", (f"right {n}", f"also right {n}"), tuple(f"wrong {n} {m}" for m in range(n % 4)))
    for n in range(20)
]


def write(path, samples=SAMPLES, **more):
    path.write_text("".join(json.dumps(sample_row(one) | more, ensure_ascii=False) + "\n" for one in samples))
    return path


def config(*data, loss="infonce", **more):
    return parse_train_config({"name": "t", "data": list(data), "loss": {"name": loss}, **more})


def test_read_on_demand_is_read_in_order(tmp_path):
    path = write(tmp_path / "a.jsonl")
    file = SampleFile(path, tmp_path / "work")
    assert [file[place] for place in range(len(file))] == SAMPLES == list(read_samples(path))
    assert file[-1] == SAMPLES[-1]
    assert file[2:5] == SAMPLES[2:5]
    assert not (tmp_path / "work").exists()  # a plain file needs no copy
    with pytest.raises(IndexError):
        file[20]


def test_blank_lines_line_ends_and_a_byte_order_mark_change_no_sample(tmp_path):
    path = tmp_path / "a.jsonl"
    rows = [json.dumps(sample_row(one), ensure_ascii=False) for one in SAMPLES]
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n\r\n".join(rows).encode())  # no end of the last line
    file = SampleFile(path, tmp_path)
    assert list(file) == SAMPLES
    assert [file.line(place) for place in range(3)] == [1, 3, 5]


def test_gzip_and_plain_give_the_same_and_a_copy_is_made_once(tmp_path):
    plain = write(tmp_path / "a.jsonl")
    packed = tmp_path / "b.jsonl.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert list(SampleFile(packed, tmp_path / "work")) == SAMPLES
    (copy,) = (tmp_path / "work").iterdir()
    made = copy.stat().st_mtime_ns
    assert list(SampleFile(packed, tmp_path / "work")) == SAMPLES
    assert [(one, one.stat().st_mtime_ns) for one in (tmp_path / "work").iterdir()] == [(copy, made)]
    packed.write_bytes(gzip.compress(write(plain, SAMPLES[:3]).read_bytes()))
    assert list(SampleFile(packed, tmp_path / "work")) == SAMPLES[:3]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"query": "q", "pos": [], "neg": []}', r"a.jsonl:3: field 'pos' is empty"),
        ('{"query": "q", "pos": ["a"]}', r"a.jsonl:3: field 'neg' must be a list"),
        ('{"query": "q", ', r"a.jsonl:3: broken JSON"),
        ('{"query": "q", "pos": ["\\ud800"], "neg": []}', r"a.jsonl:3: field 'pos\[0\]' has half a character"),
    ],
)
def test_a_bad_line_is_refused_with_file_and_line(tmp_path, line, message):
    path = write(tmp_path / "a.jsonl", SAMPLES[:1])
    path.write_text(path.read_text() + "\n" + line + "\n")
    with pytest.raises(DataError, match=message):
        SampleFile(path, tmp_path)


def test_an_empty_file_and_a_changed_one_are_refused(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("\n")
    with pytest.raises(DataError, match="no sample in the file"):
        SampleFile(path, tmp_path)
    file = SampleFile(write(path), tmp_path)
    path.write_text(path.read_text()[7:])
    with pytest.raises(DataError, match=r"a.jsonl:4: the file has changed"):
        file[3]


def test_memory_does_not_grow_with_texts(tmp_path):
    path, count, text = tmp_path / "a.jsonl", 50_000, "word " * 80
    with path.open("w") as file:
        for number in range(count):
            file.write(f'{{"query": "q{number}", "pos": ["{text}"], "neg": []}}\n')
    tracemalloc.start()
    try:
        samples = SampleFile(path, tmp_path)
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(samples) == count
    assert samples[43_210].query == "q43210"
    assert held < 12 * count * 1.2 + 50_000  # arrays grow by an eighth; the file is 22 MB
    assert peak < 2_000_000


def test_sizes_come_from_the_recipe_then_the_sample_then_the_batch(tmp_path):
    own = write(tmp_path / "own-formatted.jsonl", SAMPLES, train_group_size=4, batch_size=2)
    none = write(tmp_path / "none.jsonl")
    batch = {"queries": 5, "group": 3}
    found = open_datasets(config(str(own), str(none), batch=batch), tmp_path)
    assert [(one.name, one.queries, one.group) for one in found] == [("own", 16, 4), ("none", 5, 3)]
    told = {"path": str(own), "queries": 7, "group": 2, "instruction": "Find it"}
    (one,) = open_datasets(config(told, batch=batch, instruction="Search"), tmp_path)
    assert (one.queries, one.group, one.instruction) == (7, 2, "Find it")
    (one,) = open_datasets(config(str(none), batch=batch, instruction="Search"), tmp_path)
    assert (one.instruction, one.sample_name(0)) == ("Search", "none:1")


def test_a_folder_is_its_files_and_a_name_is_given_once(tmp_path):
    (tmp_path / "data").mkdir()
    for name in ("b", "a"):
        write(tmp_path / "data" / f"{name}.jsonl")
    batch = {"queries": 20}
    assert [one.name for one in open_datasets(config(str(tmp_path / "data"), batch=batch), tmp_path)] == ["a", "b"]
    again = str(tmp_path / "data" / "a.jsonl")
    with pytest.raises(DataError, match="a second dataset is named 'a'"):
        open_datasets(config(str(tmp_path / "data"), again, batch=batch), tmp_path)


def test_a_dataset_smaller_than_a_global_batch_is_refused(tmp_path):
    path = write(tmp_path / "a.jsonl")
    with pytest.raises(DataError, match=r"20 samples, fewer than the 21 queries .* `queries: 20`"):
        open_datasets(config({"path": str(path), "queries": 21}), tmp_path)


def test_a_loss_over_the_passages_of_a_query_wants_more_than_one(tmp_path):
    scored = TrainingSample("q", ("a",), ("b",), pos_scores=(5,), neg_scores=(1,))
    path = write(tmp_path / "a.jsonl", [scored] * 4)
    data = {"path": str(path), "queries": 4, "group": 1}
    with pytest.raises(DataError, match="'listwise' compares the passages of a query, and 'a' has one a query"):
        open_datasets(config(data, loss="listwise"), tmp_path)
    assert open_datasets(config(data, loss="infonce"), tmp_path)[0].group == 1


@pytest.mark.parametrize(
    ("loss", "field"), [("ri_infonce", "reasoning_query"), ("listwise", "pos_scores and neg_scores")]
)
def test_a_loss_without_what_it_needs_is_refused(tmp_path, loss, field):
    path = write(tmp_path / "a.jsonl")
    made = config(str(path), loss=loss, batch={"queries": 4})
    with pytest.raises(DataError, match=f"the loss '{loss}' needs {field}, which no sample has"):
        open_datasets(made, tmp_path)
    reasoned = TrainingSample("q", ("a",), ("b",), reasoning_query="why q", pos_scores=(5,), neg_scores=(1,))
    write(path, [*SAMPLES[:4], reasoned])
    (one,) = open_datasets(made, tmp_path)
    assert (one.samples.with_reasoning, one.samples.with_scores) == (1, 1)
