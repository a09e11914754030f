"""Indexing textbooks from Markdown, HTML and PDF: documents/s, MB/s of text, peak memory, and what 1% of changed files costs.

Each build runs in a process of its own with the shipped model: from nothing, again unchanged, again after a
paragraph was added to every hundredth file. Goal: the last takes at most 5% of the first. The text is measured in bytes of
UTF-8 after cutting, a document is a file. PDFs need fpdf2 to be written (`pip install fpdf2`).

    python benchmarks/index.py                # a few minutes: 100 modules as Markdown and HTML
    python benchmarks/index.py --full         # all 1,116 modules, as PDF too
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from indexing.books import WRITERS, items_of, modules_of, write_books

from reasonembed.io.manifest import now, versions, write_json

GOAL = 0.05
BUILD = """
import json, sys, time
from pathlib import Path
started = time.perf_counter()
from reasonembed import Embedder
from reasonembed.search.index import build_index, open_index
embedder = Embedder()
embedder.encode_corpus(["warm"])
ready = time.perf_counter()
manifest = build_index([sys.argv[1]], sys.argv[2], embedder)
done = time.perf_counter()
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
size = sum(len(document.text.encode()) for document in open_index(sys.argv[2]).texts())
print(json.dumps({"seconds": done - ready, "start_s": ready - started, "peak_mb": int(peak.split()[1]) / 1024,
    "bytes": size, **{key: manifest[key] for key in ("run", "count", "files", "n_duplicates")}}))
"""


def main() -> None:
    """Write the files, build, change, build again, print and store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="all modules and kinds")
    parser.add_argument("--kinds", nargs="+", choices=("md", "html", "docx", "pdf"))
    parser.add_argument("--modules", type=int, help="only the first so many")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "index.json")
    arguments = parser.parse_args()
    modules = arguments.modules or (None if arguments.full else 100)
    results = []
    for kind in arguments.kinds or (["md", "html", "pdf"] if arguments.full else ["md", "html"]):
        with tempfile.TemporaryDirectory() as folder:
            results.append(measure(kind, modules, Path(folder)))
            show(results[-1])
    machine = {"cores": len(os.sched_getaffinity(0)), "load": os.getloadavg()}
    write_json(arguments.out, {"date": now(), "machine": machine, "versions": versions(), "results": results})
    print(f"stored in {arguments.out}")


def measure(kind: str, modules: int | None, folder: Path) -> dict[str, Any]:
    """One kind of file: three builds."""
    files = write_books(folder / "books", kind, modules=modules)
    changed = files[::100]
    builds = {"full": build(folder), "unchanged": build(folder)}
    texts = modules_of()
    for path in changed:
        name = path.relative_to(folder / "books").with_suffix("").as_posix()
        words = f"This paragraph was added to {name} and says what no other file says."
        WRITERS[kind](path, [*items_of(texts[name]), (0, words)])
    return {"kind": kind, "changed_files": len(changed), **builds, "changed": build(folder)}


def build(folder: Path) -> dict[str, Any]:
    """One build in a process of its own."""
    command = [sys.executable, "-c", BUILD, str(folder / "books"), str(folder / "index")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def show(result: dict[str, Any]) -> None:
    """One line a build."""
    full = result["full"]
    for name in ("full", "unchanged", "changed"):
        one = result[name]
        share = one["seconds"] / full["seconds"]
        print(
            f"{result['kind']:<5}{name:<10}{one['files']:>6,} files {one['count']:>7,} passages"
            f"{one['run']['passages_embedded']:>7,} embedded {one['seconds']:>8.2f} s {share:>7.1%}"
            f"{one['files'] / one['seconds']:>9.1f} files/s {one['count'] / one['seconds']:>9.1f} passages/s"
            f"{one['bytes'] / one['seconds'] / 1e6:>7.2f} MB/s {one['peak_mb']:>7.0f} MB peak"
        )
    print(f"      1% changed: {result['changed']['seconds'] / full['seconds']:.1%} of the full time, goal {GOAL:.0%}")


if __name__ == "__main__":
    main()
