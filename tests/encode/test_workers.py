"""Real processes over the shards of a corpus: killed, failing, interrupted; none is left, and the bytes are the same."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from reasonembed import Embedder, data
from reasonembed.encode.corpus import encode_files
from reasonembed.encode.workers import Model, Workers, _check_same, _Worker
from reasonembed.errors import ModelError, StorageError
from reasonembed.io.jsonl import read_jsonl
from reasonembed.io.shards import open_shards

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="processes are watched through /proc")

TWO = Workers(["cpu", "cpu"])


@pytest.fixture
def docs(tmp_path):
    """24 real texts."""
    rows = [row for _, row in read_jsonl(data.theoremqa() / "corpus.jsonl.gz")][:24]
    path = tmp_path / "docs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def long(docs):
    """480 documents: seconds of work."""
    rows = [json.loads(line) for line in docs.read_text().splitlines()]
    path = docs.with_name("long.jsonl")
    path.write_text("".join(json.dumps({**row, "_id": f"{row['_id']}-{i}"}) + "\n" for i in range(20) for row in rows))
    return path


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def children(process=None):
    """Pids of the processes that a process has started."""
    found = []
    for task in Path(f"/proc/{process or os.getpid()}/task").iterdir():
        try:
            found += map(int, (task / "children").read_text().split())
        except OSError:
            continue  # the thread has just ended
    return found


def alive(pid):
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def wait_for(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def embedder():
    embedder = Embedder()
    embedder.encode_corpus("from here on it holds the threads and files of its own that it needs")
    return embedder


@pytest.fixture(autouse=True)
def _nothing_is_left(embedder):
    """No process, thread, open file or semaphore outlives a run."""

    def held():
        threads = [thread.name for thread in threading.enumerate()]
        semaphores = [line for line in Path("/proc/self/maps").read_text().splitlines() if "/dev/shm/sem." in line]
        return children(), threads, len(list(Path("/proc/self/fd").iterdir())), semaphores

    before = held()
    yield
    assert held() == before


@pytest.fixture
def killer(monkeypatch):
    """A function: kill workers, each while it works on the shard that it was just given."""
    threads = []

    def used(pid):
        """Seconds of processor time."""
        return sum(map(int, Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13])) / os.sysconf(
            "SC_CLK_TCK"
        )

    def start(*, times):
        killed, give = [], _Worker.give

        def kill(pid, since):
            while used(pid) < since + 0.05:
                time.sleep(0.005)
            os.kill(pid, signal.SIGKILL)

        def given(worker, work):
            give(worker, work)
            if len(killed) < times and worker.process.pid not in killed:
                killed.append(worker.process.pid)
                threads.append(threading.Thread(target=kill, args=(worker.process.pid, used(worker.process.pid))))
                threads[-1].start()

        monkeypatch.setattr(_Worker, "give", given)
        return killed

    yield start
    for thread in threads:
        thread.join()


def test_the_bytes_of_one_process(embedder, docs, tmp_path):
    alone = encode_files(embedder, [docs], tmp_path / "alone", shard_size=5)
    shared = encode_files(TWO, [docs], tmp_path / "shared", shard_size=5)
    assert content(tmp_path / "shared") == content(tmp_path / "alone")
    assert replace(shared, folder=alone.folder) == alone
    again = encode_files(TWO, [docs], tmp_path / "shared", shard_size=5)
    assert (again.encoded, again.resumed, again.n_truncated) == (0, 5, alone.n_truncated)


def test_a_killed_worker_costs_nothing_but_time(long, tmp_path, killer, caplog):
    alone = encode_files(Embedder(max_length=64), [long], tmp_path / "alone", shard_size=60)
    killed = killer(times=1)
    shared = encode_files(Workers(["cpu", "cpu"], {"max_length": 64}), [long], tmp_path / "shared", shard_size=60)
    assert len(killed) == 1
    assert "with exit code -9 (SIGKILL) over shard" in caplog.text
    assert content(tmp_path / "shared") == content(tmp_path / "alone")
    assert shared.n_truncated == alone.n_truncated


def test_a_shard_that_kills_every_worker_is_named(long, tmp_path, killer):
    killed = killer(times=99)
    with pytest.raises(ModelError, match=r"3 workers ended over shard 00000, the last on cpu with exit code -9 \(SIG"):
        encode_files(Workers(["cpu"]), [long], tmp_path / "out", shard_size=480)
    assert len(killed) == 3


def test_errors_of_a_worker_are_errors_here(docs, tmp_path, capfd):
    with pytest.raises(ModelError, match=r"length 100000 is outside 1\.\.512 tokens"):
        encode_files(Workers(["cpu"], {"max_length": 100_000}), [docs], tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (tmp_path / "out" / "00001.npy").mkdir(parents=True)
    with pytest.raises(StorageError, match=r"00001\.npy: cannot write: Is a directory"):
        encode_files(TWO, [docs], tmp_path / "out", shard_size=18)
    with pytest.raises(ModelError, match=r"3 workers ended without a shard, the last on cpu with exit code 1\. Fix"):
        encode_files(Workers(["cpu"], {"colour": "red"}), [docs], tmp_path / "other")
    assert "TypeError" in capfd.readouterr().err


def test_workers_are_named():
    for nothing in ([], "cuda:0"):
        with pytest.raises(ModelError, match=r"at least one, such as \['cuda:0', 'cuda:1'\]"):
            Workers(nothing)


def test_devices_that_give_other_vectors_are_refused():
    settings = {"engine": "torch", "dtype": "float32", "fingerprint": "a"}
    first = Model("a", 8, settings)
    _check_same(first, Model("a", 8, dict(settings)), "cuda:0")
    with pytest.raises(ModelError, match=r"on cuda:0 would .* the first: dtype 'float32' and 'bfloat16'\. Fix"):
        _check_same(first, Model("b", 8, {**settings, "dtype": "bfloat16", "fingerprint": "b"}), "cuda:0")


def command(docs, out, **options):
    program = "from reasonembed.cli import main; main()"
    arguments = ["encode", docs, "-o", out, "--shard-size", "20", "--device", "cpu,cpu"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)], start_new_session=True, env=environment, **options
    )


@pytest.mark.parametrize("how", ["Ctrl-C", "SIGTERM", "SIGKILL"])
def test_the_workers_end_with_the_command(long, tmp_path, how):
    out = tmp_path / "out"
    with command(long, out, stderr=subprocess.PIPE, text=True) as process:
        wait_for(lambda: (out / "00001.done.json").exists())
        workers = children(process.pid)
        assert len(workers) == 2
        if how == "Ctrl-C":
            os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to the whole group
        else:
            process.send_signal(signal.Signals[how])
        said = process.communicate(timeout=30)[1]
        assert process.returncode == (130 if how == "Ctrl-C" else -signal.Signals[how])
    assert "Traceback" not in said
    wait_for(lambda: not any(map(alive, workers)))
    assert len(list(out.glob("*.done.json"))) < 24


def test_one_progress_bar_over_all_workers(docs, tmp_path):
    ours, theirs = pty.openpty()
    with command(docs, tmp_path / "out", stderr=theirs, stdout=subprocess.PIPE, text=True) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                shown += os.read(ours, 4096)
            except OSError:  # the other end is closed
                break
        assert "24 of 24 documents encoded" in process.communicate(timeout=30)[0]
    os.close(ours)
    assert "24/24" in shown.decode()
    assert "texts/s" in shown.decode()
    assert sum(len(shard.ids) for shard in open_shards(tmp_path / "out", verify=True)) == 24
