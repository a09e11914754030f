"""Shards on disk: whole or absent, and every disagreement named."""

from __future__ import annotations

import json

import numpy as np
import pytest

from reasonembed.errors import DataError, MismatchError
from reasonembed.io.shards import claim, done, n_shards, open_shards, shards_of, sweep, write_shard

MANIFEST = {
    "model_fingerprint": "m1",
    "input_fingerprint": "i1",
    "dim": 3,
    "count": 5,
    "shard_size": 2,
    "more": "x",
}
VECTORS = np.arange(15, dtype=np.float32).reshape(5, 3)
IDS = ["a", "b", "ç", "d", "e"]


def write_all(folder):
    claim(folder, MANIFEST)
    for number in range(3):
        part = slice(2 * number, 2 * number + 2)
        write_shard(folder, number, ids=IDS[part], vectors=VECTORS[part], n_truncated=number)


def test_round_trip(tmp_path):
    write_all(tmp_path)
    shards = list(open_shards(tmp_path, verify=True))
    assert [identifier for shard in shards for identifier in shard.ids] == IDS
    np.testing.assert_array_equal(np.concatenate([shard.vectors for shard in shards]), VECTORS)
    assert isinstance(shards[0].vectors, np.memmap)
    np.testing.assert_array_equal(np.load(tmp_path / "00001.npy", allow_pickle=False), VECTORS[2:4])
    assert done(tmp_path, 2).n_truncated == 2
    assert done(tmp_path, 2).rows == 1


def test_counts():
    assert [n_shards(count, 4) for count in (0, 1, 4, 5, 8)] == [0, 1, 1, 2, 2]
    ranks = [set(shards_of(rank, 3, 10)) for rank in range(3)]
    assert set().union(*ranks) == set(range(10))
    assert sum(map(len, ranks)) == 10
    for rank, world in ((3, 3), (-1, 2), (0, 0)):
        with pytest.raises(DataError, match=f"rank {rank} of {world}"):
            shards_of(rank, world, 10)


def test_a_shard_without_marker_does_not_exist(tmp_path):
    write_all(tmp_path)
    (tmp_path / "00001.done.json").unlink()
    assert done(tmp_path, 1) is None
    with pytest.raises(DataError, match=r"1 of 3 shards are missing \(00001\).*same encode command"):
        list(open_shards(tmp_path))


def test_writing_again_clears_what_a_killed_run_left(tmp_path):
    write_all(tmp_path)
    (tmp_path / ".00001.npy.abc.tmp").write_bytes(b"half")
    (tmp_path / ".00002.npy.abc.tmp").write_bytes(b"half")
    write_shard(tmp_path, 1, ids=IDS[2:4], vectors=VECTORS[2:4], n_truncated=1)
    assert [path.name for path in tmp_path.glob(".*")] == [".00002.npy.abc.tmp"]
    sweep(tmp_path, 4)
    assert len(list(tmp_path.glob(".*"))) == 1, "shard 3 is not whole yet: somebody may be writing"
    sweep(tmp_path, 3)
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("name", ["00001.npy", "00001.ids.json"])
@pytest.mark.parametrize("damage", ["missing", "short", "flipped"])
def test_marker_and_file_disagree(tmp_path, name, damage):
    write_all(tmp_path)
    file = tmp_path / name
    data = file.read_bytes()
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(data[:-2] if damage == "short" else data[:-2] + bytes([data[-2] ^ 1]) + data[-1:])
    with pytest.raises(DataError, match=rf"{name}.*delete .*00001\.done\.json"):
        done(tmp_path, 1)
    with pytest.raises(DataError, match=name):
        list(open_shards(tmp_path, verify=True))


def test_wrong_rows_are_found_without_checksums(tmp_path):
    write_all(tmp_path)
    np.save(tmp_path / "00001.npy", VECTORS[:1])
    with pytest.raises(DataError, match=r"holds \(1, 3\) vectors and 2 ids, 00001\.done\.json says 2"):
        list(open_shards(tmp_path))


def test_broken_marker(tmp_path):
    write_all(tmp_path)
    (tmp_path / "00000.done.json").write_text('{"rows": 2}')
    with pytest.raises(DataError, match="not a marker"):
        done(tmp_path, 0)
    (tmp_path / "00000.done.json").write_text("{")
    with pytest.raises(DataError, match="not a JSON file"):
        done(tmp_path, 0)


@pytest.mark.parametrize("field", ["model_fingerprint", "input_fingerprint", "dim", "count", "shard_size"])
def test_a_folder_of_another_run_is_refused_with_both_values(tmp_path, field):
    write_all(tmp_path)
    claim(tmp_path, {**MANIFEST, "more": "other files, same content"})
    with pytest.raises(MismatchError, match=f"{field} {MANIFEST[field]}, this run has 77"):
        claim(tmp_path, {**MANIFEST, field: 77})
    assert json.loads((tmp_path / "manifest.json").read_text()) == MANIFEST


def test_shards_without_manifest(tmp_path):
    write_all(tmp_path)
    (tmp_path / "manifest.json").unlink()
    with pytest.raises(DataError, match="shards without a manifest"):
        claim(tmp_path, MANIFEST)
    with pytest.raises(DataError, match=r"manifest\.json: no such file"):
        list(open_shards(tmp_path))
