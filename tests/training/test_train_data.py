"""scripts/train_data.py over small sets: nothing of a test set is on any side, negatives are none, the same seed gives the same bytes."""

from __future__ import annotations

import gzip
import importlib.util
import json
import sys
from pathlib import Path

import pytest

from reasonembed.dataset.samples import read_samples
from reasonembed.io.jsonl import read_jsonl

SCRIPT = Path(__file__).parents[2] / "scripts" / "train_data.py"
WORDS = [f"word{number}" for number in range(400)]
LEAKED = "the closed point of a regular local ring of dimension two is cut out by a regular sequence of length two"


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))


def beir(folder, documents, queries, **splits):
    write(folder / "corpus.jsonl.gz", documents)
    write(folder / "queries.jsonl.gz", queries)
    for split, pairs in splits.items():
        (folder / "qrels").mkdir(exist_ok=True)
        (folder / "qrels" / f"{split}.tsv").write_text(
            "query-id\tcorpus-id\tscore\n" + "".join(f"{query}\t{document}\t1\n" for query, document in pairs)
        )


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("train_data", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["train_data"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def statement(key, place, text=None):
    """A statement of 30 words of which ten are in every other one too."""
    own = WORDS[place * 4 : place * 4 + 20]
    return {"_id": key, "title": "Part", "text": text or " ".join([*own, *WORDS[:10]]), "proof": f"By {key}."}


@pytest.fixture
def data(tmp_path, script):
    """Stacks with a test chapter, and the other sets; some queries repeat test queries, some positives are test texts."""
    folder = tmp_path / "data"
    chapters = [
        name for name in ("alpha", "beta", "gamma", "delta", "sets", "sites", "fields", "curves", "stacks", "flat")
    ]
    test = next(name for name in chapters if script.is_test(f"{name}-x"))
    train = next(name for name in chapters if not script.is_test(f"{name}-x"))
    documents = [statement(f"{train}-{n}", n) for n in range(80)] + [statement(f"{test}-{n}", 80 + n) for n in range(5)]
    documents += [
        statement(f"{test}-leak", 0, LEAKED),
        statement(f"{train}-leak", 0, LEAKED.replace("cut out", "given")),
    ]
    asked = [0, 1, 2]
    queries = [{"_id": f"{train}-{n}", "text": documents[n]["text"], "excluded_ids": [f"{train}-{n}"]} for n in asked]
    queries += [{"_id": f"{train}-leak", "text": documents[-1]["text"]}, {"_id": f"{test}-leak", "text": LEAKED}]
    pairs = [
        (f"{train}-0", f"{train}-40"),
        (f"{train}-0", f"{test}-0"),
        (f"{train}-1", f"{test}-1"),
        (f"{train}-2", f"{train}-41"),
    ]
    pairs += [(f"{train}-leak", f"{train}-42"), (f"{test}-leak", f"{test}-2"), (f"{train}-2", f"{train}-leak")]
    beir(folder / "stacks", documents, queries, all=pairs)
    facts = [{"_id": f"f{n}", "title": "", "text": f"fact {n} of {WORDS[n]} and it"} for n in range(40)]
    facts.append({"_id": "f40", "title": "", "text": "fact 3 of word3 and it"})  # as f3, which a dev question needs
    asked = [{"_id": f"s{n}", "text": f"is it fact {n}", "split": "dev" if n == 2 else "train"} for n in range(3)]
    beir(
        folder / "strategyqa_facts", facts, asked, train=[("s0", "f0"), ("s0", "f1"), ("s1", "f40")], dev=[("s2", "f3")]
    )
    papers = [{"_id": f"d{n}", "title": "T", "text": f"claim study {n} {WORDS[n]}"} for n in range(40)]
    claims = [{"_id": f"c{n}", "text": f"claim study {n}", "split": "test" if n == 2 else "train"} for n in range(3)]
    beir(folder / "scifact", papers, claims, train=[("c0", "d0"), ("c1", "d1")], test=[("c2", "d1")])
    write(folder / "theoremqa" / "queries.jsonl.gz", [{"_id": "t", "text": "how many ways are there"}])
    for path in ("bright_leetcode/examples", "bright_examples/biology"):
        write(folder / f"{path}.jsonl.gz", [{"query": "what bites me here", "id": "0", "gold_ids": []}])
    return folder, train, test


def run(script, monkeypatch, folder, out):
    monkeypatch.setattr(
        sys, "argv", ["train_data.py", str(folder), "-o", str(out), "--miner", "bm25", "--negatives", "9"]
    )
    script.main()
    return {path.name.split(".")[0]: list(read_samples(path)) for path in out.glob("*.jsonl.gz")}


def test_nothing_of_a_test_set_is_on_any_side(script, data, monkeypatch, tmp_path):
    folder, train, test = data
    made = run(script, monkeypatch, folder, tmp_path / "out")
    rows = {row["_id"]: row for _, row in read_jsonl(folder / "stacks" / "corpus.jsonl.gz")}
    first, third = made[
        "stacks"
    ]  # of the others one is nearly a test query, one has a positive in a test chapter alone
    assert (first.query, third.query) == (rows[f"{train}-0"]["text"], rows[f"{train}-2"]["text"])
    assert first.pos == (f"Part {rows[f'{train}-40']['text']}",)
    assert third.pos == (f"Part {rows[f'{train}-41']['text']}",)  # without the statement that is nearly a test query
    assert first.reasoning_query == f"{first.query}\n\nProof. By {train}-0."
    forbidden = {f"Part {row['text']}" for key, row in rows.items() if key.startswith(test) or key.endswith("leak")}
    for sample in made["stacks"]:
        assert len(set(sample.neg)) == 9
        assert not {*sample.pos, *sample.neg} & forbidden
        assert not set(sample.neg) & {*sample.pos, f"Part {sample.query}"}
    (question,) = made["strategyqa_facts"]
    assert question.pos == ("fact 0 of word0 and it", "fact 1 of word1 and it")
    assert question.reasoning_query == "is it fact 0\n\nfact 0 of word0 and it\nfact 1 of word1 and it"
    assert "fact 3 of word3 and it" not in question.neg
    (claim,) = made["scifact"]
    assert claim.pos == ("T claim study 0 word0",)
    assert claim.reasoning_query is None


def test_manifest_counts_and_the_same_seed_gives_the_same_bytes(script, data, monkeypatch, tmp_path):
    folder, _, _ = data
    run(script, monkeypatch, folder, tmp_path / "one")
    made = run(script, monkeypatch, folder, tmp_path / "two")
    for path in (tmp_path / "one").glob("*.gz"):
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()
    counts = json.loads((tmp_path / "one" / "manifest.json").read_text())["datasets"]["stacks"]
    assert counts["queries dropped"] == {
        "near to a query of stacks test": 1, "no positive is a training text": 1, "no negative found": 0
    }  # fmt: skip
    assert counts["positives dropped from other queries"] == 2
    assert counts["documents left out"] == {"in a test chapter": 6, "nearly a test query": 1}
    assert (counts["samples"], counts["negatives"]) == (2, sum(len(sample.neg) for sample in made["stacks"]))
