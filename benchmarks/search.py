"""Exact search: ours by numpy and torch against faiss, usearch and a plain matrix product; prints a table, stores JSON.

    python benchmarks/search.py [--full] [--vectors 1000000] [--runs 3] [--only NAME ...] [--out benchmarks/results/search.json]

One process a contender (spawned, one after the other in each round, so that they alternate), all on the same vectors,
memory-mapped from one temporary file of `vectors x 384 x 4` bytes (1.5 GB; faiss and usearch copy it, so give 5 GB of
memory). A cell is the median of `--runs` rounds of the best of two calls; the first call, which reads the file and
measures norms, stands apart. Every contender's ids are compared with a float64 full sort.

The vectors resemble embeddings: TheoremQA's 354 theorems and 647 of its questions by the shipped model (MiniLM, 384
dimensions), each document a blend of two of them, 50 to 100% of the first, and Gaussian noise of norm 0.2 to 0.6, scaled
to norm 1. The queries are the other 100 questions. Excluded are, for each query, 1,000 of its nearest 5,000 documents and
10,000 random ones.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import multiprocessing
import os
import platform
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float32]
DIM = 384
DEPTHS = (10, 100, 2_000)
N_QUERIES = 100
N_EXCLUDED = 11_000
CHUNK = 50_000
CONTENDERS = (
    "ours numpy",
    "ours torch float32",
    "ours torch bfloat16",
    "faiss IndexFlatIP",
    "usearch exact",
    "numpy full",
)
CASES = [f"{n} k={k}" for n in ("batch", "single") for k in DEPTHS] + ["batch k=2000 excluding"]


def main() -> None:
    """Make the vectors, measure in rounds, print, store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", type=int, help="default: 100,000, with --full a million")
    parser.add_argument("--runs", type=int, default=3, help="rounds; a cell is their median")
    parser.add_argument("--only", nargs="*", default=CONTENDERS, metavar="NAME", help=", ".join(CONTENDERS))
    parser.add_argument("--data", type=Path, help="keep the vectors in this folder, or take them from there")
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "search.json")
    arguments = parser.parse_args()
    arguments.vectors = arguments.vectors or (1_000_000 if arguments.full else 100_000)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(arguments.threads)
    load = [os.getloadavg()]
    rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in arguments.only}
    with tempfile.TemporaryDirectory() as temporary:
        folder = (arguments.data or Path(temporary)) / str(arguments.vectors)
        if not (folder / "truth_excluding.npy").exists():
            folder.mkdir(parents=True, exist_ok=True)
            apart(make_data, folder, arguments.vectors)
        peaks = []
        for _ in range(arguments.runs):
            peaks.append(apart(matmul_peak))
            for name in arguments.only:
                if not rounds[name] or "missing" not in rounds[name][-1]:
                    rounds[name].append(apart(contender, name, folder))
                    print(f"  {name}: {rounds[name][-1].get('missing', 'done')}", flush=True)
            load.append(os.getloadavg())
    result = {name: summary(runs) for name, runs in rounds.items()}
    peak = {kind: statistics.median(p[kind] for p in peaks) for kind in peaks[0]}
    table(result, "cpu seconds", arguments.vectors)
    table(result, "seconds", arguments.vectors)
    bounds(result, peak, arguments.vectors)
    store(arguments, result, peak, load)


def apart(task: Callable[..., Any], *arguments: Any) -> Any:
    """Run a function in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(task, arguments)


def make_data(folder: Path, n: int) -> None:
    """Write `documents.npy` (n, DIM) float32, `queries.npy`, `truth.npy` (best ids) and `excluded.npy` (positions)."""
    import reasonembed
    from reasonembed.io.beir import read_beir

    task = read_beir(Path(reasonembed.__file__).parent / "data" / "theoremqa")
    embedder = reasonembed.Embedder()
    questions = embedder.encode_queries([query.text for query in task.queries])
    base = np.concatenate([embedder.encode_corpus([d.content for d in task.documents]), questions[N_QUERIES:]])
    queries = questions[:N_QUERIES]
    rng = np.random.default_rng(0)
    documents = np.lib.format.open_memmap(folder / "documents.npy", "w+", np.float32, (n, DIM))
    scores = np.empty((N_QUERIES, n), np.float32)
    for start in range(0, n, CHUNK):
        documents[start : start + CHUNK] = chunk = blend(rng, base, min(CHUNK, n - start))
        scores[:, start : start + CHUNK] = queries.astype(np.float64) @ chunk.astype(np.float64).T
    np.save(folder / "queries.npy", queries)
    near = np.argpartition(-scores, min(5_000, n - 1), axis=1)[:, :5_000]
    excluded = [np.union1d(rng.choice(row, min(1_000, n // 10), replace=False),
                           rng.choice(n, min(N_EXCLUDED - 1_000, n // 10), replace=False)) for row in near]  # fmt: skip
    np.save(folder / "truth.npy", best(scores, max(DEPTHS)))
    np.savez(folder / "excluded.npz", *excluded)
    for row, places in zip(scores, excluded, strict=True):
        row[places] = -np.inf
    np.save(folder / "truth_excluding.npy", best(scores, max(DEPTHS)))


def blend(rng: np.random.Generator, base: Matrix, n: int) -> Matrix:
    """Unit vectors (n, DIM) between two of `base`, with noise."""
    share = rng.uniform(0.5, 1, (n, 1)).astype(np.float32)
    first, second = base[rng.integers(0, len(base), n)], base[rng.integers(0, len(base), n)]
    noise = rng.standard_normal((n, DIM), dtype=np.float32) * rng.uniform(0.2, 0.6, (n, 1)).astype(np.float32)
    mixed = share * first + (1 - share) * second + noise / np.float32(DIM**0.5)
    return (mixed / np.linalg.norm(mixed, axis=1, keepdims=True)).astype(np.float32)


def best(scores: Matrix, k: int) -> npt.NDArray[np.int64]:
    """Positions of the best k of each row, best first."""
    k = min(k, scores.shape[1] - 1)
    top = np.argpartition(-scores, k, axis=1)[:, :k]
    order = np.argsort(-np.take_along_axis(scores, top, axis=1), axis=1)
    return np.take_along_axis(top, order, axis=1)


Search = Callable[[Matrix, int], list[list[int]]]


def contender(name: str, folder: Path) -> dict[str, Any]:
    """Times in seconds of every case, overlap with the truth, peak memory in MB; or why it is missing."""
    documents = np.load(folder / "documents.npy", mmap_mode="r")
    documents.sum(axis=0)  # into the file cache
    queries = np.load(folder / "queries.npy")
    truth, truth_excluding = np.load(folder / "truth.npy"), np.load(folder / "truth_excluding.npy")
    try:
        search, excluding = opened(name, documents, folder)
    except ImportError as error:
        return {"missing": str(error)}
    started = time.perf_counter()
    search(queries, 10)
    result: dict[str, Any] = {"first call": time.perf_counter() - started, "seconds": {}, "cpu": {}, "overlap": {}}
    for case in CASES:
        kind, k, *rest = case.replace("k=", "").split()
        asked = queries if kind == "batch" else queries[:1]
        call = excluding if rest else search
        if call is None:
            continue
        expected = truth_excluding if rest else truth
        seconds, cpu, found = timed(lambda: call(asked, int(k)))  # noqa: B023
        result["seconds"][case], result["cpu"][case] = seconds, cpu
        shares = [len(set(row) & set(true[: int(k)].tolist())) / min(int(k), len(true))
                  for row, true in zip(found, expected, strict=False)]  # fmt: skip
        result["overlap"][case] = min(shares)
    result["peak MB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return result


def timed(call: Callable[[], list[list[int]]]) -> tuple[float, float, list[list[int]]]:
    """Best of two calls: wall seconds, processor seconds."""
    runs = []
    for _ in range(2):
        wall, cpu = time.perf_counter(), time.process_time()
        found = call()
        runs.append((time.perf_counter() - wall, time.process_time() - cpu))
    return min(runs)[0], min(cpu for _, cpu in runs), found


def opened(name: str, documents: Matrix, folder: Path) -> tuple[Search, Search | None]:
    """A contender's search, and its search with exclusions where it has one."""
    if name.startswith("ours"):
        return ours(name, documents, folder)
    if name == "faiss IndexFlatIP":
        import faiss

        index = faiss.IndexFlatIP(DIM)
        index.add(documents)
        return lambda queries, k: index.search(queries, k)[1].tolist(), None
    if name == "usearch exact":
        from usearch.index import MetricKind
        from usearch.index import search as exact

        def usearch(queries: Matrix, k: int) -> list[list[int]]:
            keys = exact(documents, queries, k, MetricKind.IP, exact=True).keys
            return np.atleast_2d(keys).tolist()

        return usearch, None
    if name == "numpy full":
        return lambda queries, k: best(queries @ documents.T, k).tolist(), None
    raise SystemExit(f"no contender {name!r}: one of {', '.join(CONTENDERS)}")


def ours(name: str, documents: Matrix, folder: Path) -> tuple[Search, Search]:
    """`ExactSearcher.search` with everything it does: ids, hits as objects, ties by id."""
    from reasonembed import ExactSearcher

    backend, dtype = [*name.split()[1:], "auto"][:2]
    if backend == "torch":
        import torch  # noqa: F401  # reported as missing here rather than later
    ids = [f"doc{place:08d}" for place in range(len(documents))]
    searcher = ExactSearcher.of(ids, documents, backend=backend, dtype=dtype)
    with np.load(folder / "excluded.npz") as stored:
        excluded = [frozenset(ids[place] for place in stored[key].tolist()) for key in stored.files]

    def places(hits: list[Any]) -> list[list[int]]:
        return [[int(hit.id[3:]) for hit in row] for row in hits]

    class Found(list):  # type: ignore[type-arg]
        """Hits as positions, made when they are checked and not while the clock runs."""

        def __iter__(self) -> Any:
            return iter(places(list(super().__iter__())))

    return (
        lambda queries, k: Found(searcher.search(queries, k)),
        lambda queries, k: Found(searcher.search(queries, k, excluded[: len(queries)])),
    )


def matmul_peak() -> dict[str, float]:
    """GFLOP/s of `100 x 384` by `384 x 4,096`, best of 50, by what the contenders multiply with."""
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((n, DIM), dtype=np.float32) for n in (N_QUERIES, 4_096))
    out = np.empty((N_QUERIES, 4_096), np.float32)
    calls: dict[str, Callable[[], Any]] = {"numpy float32": lambda: np.matmul(a, b.T, out=out)}
    try:
        import torch

        ta, tb = torch.from_numpy(a), torch.from_numpy(b)
        ha, hb = ta.bfloat16(), tb.bfloat16()
        calls |= {"torch float32": lambda: torch.mm(ta, tb.T), "torch bfloat16": lambda: torch.mm(ha, hb.T)}
    except ImportError:
        pass
    peak = {}
    for kind, call in calls.items():
        seconds = []
        for _ in range(50):
            started = time.perf_counter()
            call()
            seconds.append(time.perf_counter() - started)
        peak[kind] = 2 * a.size * 4_096 / min(seconds) / 1e9
    return peak


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians over rounds; the smallest overlap, the largest memory."""
    if "missing" in runs[0]:
        return runs[0]
    cases = runs[0]["seconds"]
    return {
        "seconds": {case: statistics.median(run["seconds"][case] for run in runs) for case in cases},
        "cpu seconds": {case: statistics.median(run["cpu"][case] for run in runs) for case in cases},
        "overlap": {case: min(run["overlap"][case] for run in runs) for case in cases},
        "first call": statistics.median(run["first call"] for run in runs),
        "peak MB": max(run["peak MB"] for run in runs),
        "rounds": [run["seconds"] for run in runs],
    }


def table(result: dict[str, Any], clock: str, n: int) -> None:
    """Milliseconds a case and the ratio to faiss; processor seconds change less with what else runs on the machine."""
    kind = "ms of all processors" if clock.startswith("cpu") else "ms of wall clock"
    print(f"\n{n:,} x {DIM}, {N_QUERIES} queries or one; {kind}, in brackets times as fast as faiss")
    print(f"{'':<22}" + "".join(f"{case:>24}" for case in CASES) + f"{'first ms':>10}{'peak MB':>9}{'overlap':>9}")
    faiss = result.get("faiss IndexFlatIP", {}).get(clock, {})
    for name, row in result.items():
        if "missing" in row:
            print(f"{name:<22}  missing: {row['missing']}")
            continue
        cells = ""
        for case in CASES:
            seconds = row[clock].get(case)
            other = faiss.get(case.removesuffix(" excluding"))
            ratio = f" ({other / seconds:.1f}x)" if seconds and other else ""
            cells += f"{f'{seconds * 1e3:,.0f}{ratio}' if seconds else '-':>24}"
        print(f"{name:<22}{cells}{row['first call'] * 1e3:>10,.0f}{row['peak MB']:>9,.0f}"
              f"{min(row['overlap'].values()):>9.4f}")  # fmt: skip


def bounds(result: dict[str, Any], peak: dict[str, float], n: int) -> None:
    """What the multiplication alone would take on the wall clock, our share of that speed, and the cost of exclusions."""
    for kind, gflops in peak.items():
        bound = 2 * N_QUERIES * n * DIM / gflops / 1e6
        row = result.get(f"ours {'numpy' if kind.startswith('numpy') else kind}", {}).get("seconds", {})
        share = "".join(f", k={k} reaches {bound / row[f'batch k={k}'] / 1e3:.0%}" for k in DEPTHS) if row else ""
        print(f"bound of the product alone, {kind} at {gflops:,.0f} GFLOP/s: {bound:,.0f} ms{share}")
    for name, row in result.items():
        if "batch k=2000 excluding" in row.get("seconds", {}):
            times = row["seconds"]["batch k=2000 excluding"] / row["seconds"]["batch k=2000"]
            print(f"{name}: excluding {N_EXCLUDED:,} a query takes {times:.2f} x without")


def store(arguments: argparse.Namespace, result: dict[str, Any], peak: dict[str, float], load: list[Any]) -> None:
    """Write the figures with what is needed to judge them."""
    from reasonembed.io.manifest import now, versions, write_json
    from reasonembed.model.hardware import cpu_flags, cpu_name

    peers = {}
    for name in ("faiss-cpu", "usearch"):
        try:
            peers[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    flags = sorted(cpu_flags() & {"avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_int8"})
    machine = {"cpu": cpu_name(), "flags": flags, "threads": arguments.threads, "system": platform.platform(),
               "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), "load": load}  # fmt: skip
    write_json(
        arguments.out,
        {"date": now(), "machine": machine, "versions": versions() | peers, "data": __doc__, "dim": DIM,
         "vectors": arguments.vectors, "queries": N_QUERIES, "peak GFLOP/s": peak, "results": result},
    )  # fmt: skip
    print(f"load before and after each round: {', '.join(f'{one[0]:.1f}' for one in load)}; stored in {arguments.out}")


if __name__ == "__main__":
    main()
