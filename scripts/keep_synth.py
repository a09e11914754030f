"""Keep what a finished synthesis made: compressed, with its manifest, small enough for the repository.

    python scripts/keep_synth.py runs/theoremqa -o data/synth/theoremqa --licence "TheoremQA, MIT"

Writes queries.jsonl.gz (fields of `SynthQuery`), annotations.jsonl.gz (fields of `Annotation`), reasoning.jsonl.gz where there is one,
NAME.jsonl.gz (fields of `TrainingSample`: train on it), and manifest.json: the run's manifest without places on the machine that made
it, the SHA-256 of each file, and the licence of the corpus. The same run gives the same bytes.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reasonembed.dataset.samples import read_samples, write_samples
from reasonembed.errors import DataError
from reasonembed.io.jsonl import read_jsonl, write_jsonl
from reasonembed.io.manifest import digest, read_json, write_json
from reasonembed.synth.folder import MANIFEST, Run

STAGES = {"queries": "queries", "annotate": "annotations", "reasoning": "reasoning"}


def keep(run: Run, out: Path, licence: str) -> dict[str, Any]:
    """Write the compressed files and their manifest.

    Raises:
        DataError: A stage is not finished.
    """
    for stage in ("queries", "annotate", "samples"):
        if not run.path(stage).exists():
            raise DataError(f"stage {stage} is not finished", path=run.folder, fix="`reasonembed synth run` to its end")
    files: list[Path] = []
    for stage, name in STAGES.items():
        if run.path(stage).exists():
            files.append(out / f"{name}.jsonl.gz")
            write_jsonl(files[-1], (row for _, row in read_jsonl(run.path(stage))))
    files.append(out / f"{run.config.name}.jsonl.gz")
    write_samples(files[-1], read_samples(run.path("samples")))
    manifest: dict[str, Any] = placeless(read_json(run.folder / MANIFEST))
    manifest |= {"licence": licence, "files": {file.name: digest(file) for file in files}}
    write_json(out / MANIFEST, manifest)
    return manifest


def placeless(value: Any) -> Any:
    """A value with every absolute path in it cut to its last part."""
    if isinstance(value, dict):
        return {key: placeless(item) for key, item in value.items()}
    if isinstance(value, list):
        return [placeless(item) for item in value]
    return Path(value).name if isinstance(value, str) and value.startswith("/") else value


def sizes(folder: Path) -> Iterator[str]:
    """A line a file, with its size."""
    for file in sorted(folder.iterdir()):
        yield f"{file.stat().st_size:>12,} {file}"


def main() -> None:
    """Keep a run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--licence", required=True, help="of the corpus: its name, and what may be done with its texts")
    args = parser.parse_args()
    keep(Run(args.run), args.out, args.licence)
    print(*sizes(args.out), sep="\n")


if __name__ == "__main__":
    main()
