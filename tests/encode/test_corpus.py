"""Sharded encoding: killed at every step and resumed, split over ranks, refused where things do not fit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

from reasonembed import Embedder
from reasonembed.encode.corpus import encode_files
from reasonembed.errors import DataError, MismatchError, StorageError
from reasonembed.io.shards import open_shards

TINY = '''
import hashlib
import numpy as np


class Tiny:
    """A deterministic embedder with the interface that encode_files uses: a text's digest is its vector."""

    name, dim, n_truncated, fingerprint = "tiny", 8, 0, "tiny-1"

    def encode_corpus(self, texts):
        self.n_truncated += sum(len(text) > 12 for text in texts)
        digests = [hashlib.sha256(text.encode()).digest() for text in texts]
        vectors = np.array([np.frombuffer(digest, np.uint32) for digest in digests]).astype(np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def describe(self):
        return {"model": self.name, "device": "cpu"}
'''
_names: dict = {}
exec(TINY, _names)  # the same class here and in the processes that are killed
Tiny = _names["Tiny"]


@pytest.fixture
def docs(tmp_path):
    rows = [{"id": f"d{i}", "text": f"text {i} " + "x" * (i % 9)} for i in range(11)]
    path = tmp_path / "docs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def content(folder):
    """Every file with its bytes, hidden ones too."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def run(code, *arguments, **options):
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-c", TINY + textwrap.dedent(code), *map(str, arguments)],
        env=environment, capture_output=True, text=True, timeout=60, check=False, **options,
    )  # fmt: skip


def test_vectors_ids_and_report(docs, tmp_path):
    report = encode_files(Tiny(), [docs], tmp_path / "out", shard_size=4)
    shards = list(open_shards(tmp_path / "out", verify=True))
    assert [len(shard.ids) for shard in shards] == [4, 4, 3]
    rows = [json.loads(line) for line in docs.read_text().splitlines()]
    np.testing.assert_array_equal(
        np.concatenate([shard.vectors for shard in shards]),
        Tiny().encode_corpus([row["text"] for row in rows]),
    )
    assert [i for shard in shards for i in shard.ids] == [row["id"] for row in rows]
    assert (report.count, report.encoded, report.resumed, report.shards) == (11, 11, 0, 3)
    assert report.n_truncated == sum(len(row["text"]) > 12 for row in rows)
    again = encode_files(Tiny(), [docs], tmp_path / "out", shard_size=4)
    assert (again.encoded, again.resumed, again.n_truncated) == (0, 3, report.n_truncated)


def test_ranks_share_the_work(docs, tmp_path):
    encode_files(Tiny(), [docs], tmp_path / "whole", shard_size=2)
    for rank in (2, 0, 1):
        report = encode_files(Tiny(), [docs], tmp_path / "shared", shard_size=2, rank=rank, world_size=3)
        assert report.shards == 2
    assert content(tmp_path / "shared") == content(tmp_path / "whole")
    with pytest.raises(DataError, match="rank 3 of 3"):
        encode_files(Tiny(), [docs], tmp_path / "shared", rank=3, world_size=3)


KILLED_EVERYWHERE = """
    import os, pathlib, shutil, signal, sys
    from reasonembed.encode.corpus import encode_files

    docs, work, whole = map(pathlib.Path, sys.argv[1:])
    expected = {path.name: path.read_bytes() for path in whole.iterdir()}

    def child(kill_at):
        process = os.fork()
        if process:
            return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        seen = 0

        def hook(event, arguments):
            nonlocal seen
            if event in ("open", "os.rename", "os.remove", "os.mkdir") and str(work) in str(arguments[0]):
                seen += 1
                if seen == kill_at:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        encode_files(Tiny(), [docs], work, shard_size=4)
        os._exit(0)

    kills = 0
    while True:
        shutil.rmtree(work, ignore_errors=True)
        if child(kills + 1) == 0:
            break  # the run ended before the step at which it should have been killed: all steps were tried
        kills += 1
        assert child(None) == 0
        found = {path.name: path.read_bytes() for path in work.iterdir()}
        assert found == expected, (kills, sorted(found), sorted(expected))
    print(kills)
"""


def test_killed_at_every_step_and_resumed_gives_the_same_bytes(docs, tmp_path):
    """SIGKILL before every single opening, renaming and removing of a file; then the run is started again."""
    encode_files(Tiny(), [docs], tmp_path / "whole", shard_size=4)
    result = run(KILLED_EVERYWHERE, docs, tmp_path / "work", tmp_path / "whole")
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) > 20


def test_shipped_model_killed_between_shards(tmp_path):
    docs = tmp_path / "docs.jsonl"
    docs.write_text("".join(json.dumps({"id": str(i), "text": f"theorem {i} " * 30}) + "\n" for i in range(60)))
    code = """
        import sys
        from reasonembed import Embedder
        from reasonembed.encode.corpus import encode_files
        encode_files(Embedder(), [sys.argv[1]], sys.argv[2], shard_size=2)
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code), str(docs), str(tmp_path / "out")])
    while process.poll() is None and not (tmp_path / "out" / "00002.done.json").exists():
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the run ended before it could be killed"
    report = encode_files(Embedder(), [docs], tmp_path / "out", shard_size=2)
    assert 3 <= report.resumed < 30
    encode_files(Embedder(), [docs], tmp_path / "whole", shard_size=2)
    assert content(tmp_path / "out") == content(tmp_path / "whole")


def test_half_written_shard_is_redone_and_a_damaged_one_refused(docs, tmp_path):
    out = tmp_path / "out"
    encode_files(Tiny(), [docs], out, shard_size=4)
    before = content(out)
    (out / "00001.done.json").unlink()
    (out / "00001.npy").write_bytes(before["00001.npy"][:50])
    assert encode_files(Tiny(), [docs], out, shard_size=4).encoded == 4
    assert content(out) == before
    (out / "00001.npy").write_bytes(before["00001.npy"][:50])
    with pytest.raises(DataError, match=r"00001\.npy: damaged.*delete .*00001\.done\.json"):
        encode_files(Tiny(), [docs], out, shard_size=4)


def test_other_model_or_input_is_refused_with_both_fingerprints(docs, tmp_path):
    encode_files(Tiny(), [docs], tmp_path / "out", shard_size=4)
    other = Tiny()
    other.fingerprint = "tiny-2"
    with pytest.raises(MismatchError, match="model_fingerprint tiny-1, this run has tiny-2"):
        encode_files(other, [docs], tmp_path / "out", shard_size=4)
    docs.write_text(docs.read_text() + '{"id": "new", "text": "new"}\n')
    with pytest.raises(MismatchError, match=r"input_fingerprint [0-9a-f]{32}, this run has [0-9a-f]{32}"):
        encode_files(Tiny(), [docs], tmp_path / "out", shard_size=4)


def test_bad_input_is_refused_before_anything_is_encoded(docs, tmp_path):
    docs.write_text(docs.read_text() + '{"id": "e", "text": ""}\n')
    with pytest.raises(DataError, match=r"docs\.jsonl:12: document 'e' is empty"):
        encode_files(Tiny(), [docs], tmp_path / "out", shard_size=4)
    assert not (tmp_path / "out").exists()
    report = encode_files(Tiny(), [docs], tmp_path / "out", shard_size=4, skip_empty=True)
    assert (report.count, report.n_empty) == (11, 1)
    with pytest.raises(DataError, match="shard size is 0"):
        encode_files(Tiny(), [docs], tmp_path / "out", shard_size=0)


def test_input_that_shrinks_while_it_is_read(docs, tmp_path):
    class Shrinking(Tiny):
        def encode_corpus(self, texts):
            os.truncate(docs, 300 * len(line))
            return super().encode_corpus(texts)

    line = json.dumps({"id": "0000", "text": "x" * 100}) + "\n"
    docs.write_text("".join(line.replace("0000", f"{i:04}") for i in range(500)))
    with pytest.raises(MismatchError, match="shorter than when it was checked"):
        encode_files(Shrinking(), [docs], tmp_path / "out", shard_size=100)


FULL = """
    import sys
    from reasonembed.encode.corpus import encode_files
    from reasonembed.errors import StorageError
    limit, docs, out = int(sys.argv[1]), *sys.argv[2:]
    if limit:
        import resource
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        encode_files(Tiny(), [docs], out, shard_size=100)
    except StorageError as error:
        print(error)
"""


@pytest.fixture
def many(tmp_path):
    docs = tmp_path / "many.jsonl"
    docs.write_text("".join(json.dumps({"id": str(i), "text": f"text {i}"}) + "\n" for i in range(900)))
    return docs


def test_system_refuses_to_write(many, tmp_path):
    """The kernel stops the 3,328-byte shard at 2,000 bytes; nothing half-written stays; a rerun goes on."""
    result = run(FULL, 2000, many, tmp_path / "out")
    assert "00000.npy: cannot write: File too large" in result.stdout, result.stderr
    assert sorted(content(tmp_path / "out")) == ["manifest.json"]
    assert encode_files(Tiny(), [many], tmp_path / "out", shard_size=100).encoded == 900


def test_disk_full(many, tmp_path):
    """A real file system of 48 KiB in a mount namespace of our own."""
    disk = tmp_path / "disk"
    disk.mkdir()
    script = f'mount -t tmpfs -o size=48k none {disk} && exec "$@"; exit 77'
    command = [
        "unshare",
        "-Urm",
        "sh",
        "-c",
        script,
        "sh",
        sys.executable,
        "-c",
        TINY + textwrap.dedent(FULL),
    ]
    try:
        result = subprocess.run(
            [*command, "0", str(many), str(disk / "out")],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    except FileNotFoundError:
        pytest.skip("no unshare on this machine")
    if result.returncode and "StorageError" not in result.stderr:
        pytest.skip(f"no private mounts on this machine: {result.stderr.strip()[-100:]}")
    assert "disk full" in result.stdout, result.stderr


def test_unwritable_folder(docs, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write"):
        encode_files(Tiny(), [docs], tmp_path / "file" / "out")
