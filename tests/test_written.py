"""What a language model wrote for the small model (data/written): whole, and made into samples that hold nothing of a test or dev set."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from reasonembed.dataset.samples import read_samples
from reasonembed.io.beir import read_beir
from reasonembed.io.jsonl import read_jsonl, write_jsonl
from reasonembed.io.manifest import digest, read_json

ROOT = Path(__file__).parents[1]
WRITTEN = ROOT / "data/written"
SUBJECTS = [path for folder in ("concepts", "more") for path in sorted((WRITTEN / folder).glob("*.jsonl.gz"))]
POSTS = sorted((WRITTEN / "posts").glob("*.jsonl.gz"))


def is_dev(module: str) -> bool:
    """The rule of scripts/mini_data.py."""
    return int(hashlib.sha1(module.encode()).hexdigest(), 16) % 10 == 0


def rows(path: Path) -> list[dict]:
    return [row for _, row in read_jsonl(path)]


def sample_files(place: Path) -> list[Path]:
    return sorted(place.glob("*.jsonl.gz")) if place.is_dir() else [place]


def test_the_manifest_counts_what_is_there():
    manifest = read_json(WRITTEN / "manifest.json")
    found = {str(path.relative_to(WRITTEN)): path for path in sorted(WRITTEN.rglob("*.gz"))}
    assert {name: one["sha256"] for name, one in manifest["files"].items()} == {n: digest(p) for n, p in found.items()}
    assert {name: one["rows"] for name, one in manifest["files"].items()} == {n: len(rows(p)) for n, p in found.items()}


@pytest.mark.parametrize(
    ("path", "longest"), [*((path, 140) for path in SUBJECTS), *((path, 150) for path in POSTS)],
    ids=lambda told: told.name.split(".")[0] if isinstance(told, Path) else None,
)  # fmt: skip
def test_every_entry_and_passage_has_four_questions_that_do_not_name_it(path, longest):
    named = 0
    for row in rows(path):
        assert row["_id"].startswith(path.name.split(".")[0].removesuffix("-posts") + "/")
        assert 30 <= len(row["text"].split()) <= longest
        assert len(row["questions"]) == len(set(row["questions"])) == 4
        named += sum(f" {row['title'].lower()} " in f" {text.lower()} " for text in row["questions"])
    assert named <= 2


def test_no_passage_is_of_a_concept():
    """Nor twice: what is held out of concepts is not trained on as a passage."""
    concepts = {row["title"].casefold() for path in SUBJECTS for row in rows(path)}
    titles = [row["title"].casefold() for path in POSTS for row in rows(path)]
    assert len(set(titles)) == len(titles)
    assert not concepts & set(titles)


def test_examiners_questions_are_of_entries_and_have_an_analysis():
    entries = {f"{path.parent.name}/{row['_id']}": row["title"].lower() for path in SUBJECTS for row in rows(path)}
    asked = [row for path in sorted((WRITTEN / "exam").glob("*.jsonl.gz")) for row in rows(path)]
    per_entry = Counter(row["source"] for row in asked)
    assert set(per_entry) == set(entries)
    assert set(per_entry.values()) == {3}
    assert len({row["query"] for row in asked}) == len(asked)
    named = sum(entries[row["source"]] in row["query"].lower() for row in asked)
    assert named < 0.02 * len(asked)  # an examiner may name it; these do in one of 200
    assert all(len(row["analysis"].split()) >= 15 for row in asked)


def test_facts_and_theorems_are_whole():
    for name in ("facts", "facts-more", "facts-third"):
        asked = rows(WRITTEN / f"{name}.jsonl.gz")
        assert all(len(row["facts"]) >= 2 and row["query"].endswith("?") for row in asked)
    assert set(Counter(row["source"] for row in rows(WRITTEN / "theoremqa.jsonl.gz")).values()) == {8}
    each = Counter(row["source"] for row in rows(WRITTEN / "theoremqa-exam.jsonl.gz"))
    assert len(each) == 354
    assert set(each.values()) == {5, 6}  # six near copies of test questions were taken out


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Samples made beside small test sets, one of whose queries is a written question."""
    data, sources, out = (tmp_path_factory.mktemp(name) for name in ("data", "sources", "out"))
    leaked = rows(SUBJECTS[0])[0]["questions"][0]
    ids = sorted({row["source"] for row in rows(WRITTEN / "theoremqa.jsonl.gz")})
    write_jsonl(data / "theoremqa/corpus.jsonl.gz", [{"_id": k, "title": f"T {k}", "text": f"about {k}"} for k in ids])
    write_jsonl(data / "theoremqa/queries.jsonl.gz", [{"_id": "q", "text": leaked}])
    for name, split in (("stacks", None), ("scifact", "test"), ("strategyqa_facts", "dev")):
        write_jsonl(data / name / "queries.jsonl.gz", [{"_id": "a-b", "text": "other words here", "split": split}])
    alike = rows(WRITTEN / "leetcode.jsonl.gz")
    gold = alike[0]["id"]
    write_jsonl(data / "bright_leetcode/examples.jsonl.gz", [{"query": "none of these words", "gold_ids": [gold]}])
    write_jsonl(data / "bright_examples/pony.jsonl.gz", [{"query": "nor these words"}])
    keys = sorted({row["id"] for row in alike} | {key for row in alike for key in row["alike"]})
    problem = {"solution_python": "pass", "explanation": "We count. " * 20}
    problems = [{**problem, "id": key, "problem": f"Problem number {key} in words"} for key in keys]
    short = next(key for key in keys if key != gold and not is_dev(key))
    problems[keys.index(short)]["explanation"] = "See part one."
    write_jsonl(data / "leetcode/problems.jsonl.gz", problems)
    passage = {"title": "Levers", "text": "A lever multiplies force."}
    for kind in ("books", "pretext"):
        modules = [f"m{number}" for number in range(20)]
        asked = {m: f"How heavy a stone can the boy of house {m} lift with it?" for m in modules}
        dev = next(filter(is_dev, modules))
        other = next(m for m in modules if not is_dev(m))
        exercises = [{"_id": f"x{m}", "text": asked[m], "after": f"p{m}", "cites": [], "module": m} for m in modules]
        citing = {"_id": "citing", "text": "Lift it from house dev " * 3, "after": None, "cites": [f"p{other}"]}
        edition = {"_id": "edition", "text": asked[dev], "after": f"p{other}", "cites": [], "module": other}
        passages = [{**passage, "_id": f"p{m}", "module": m} for m in modules]
        passages += [
            {"title": "Ropes", "text": f"A {n} rope pulls.", "_id": n, "module": other} for n in ("hemp", "steel")
        ]
        exercises += [
            {"_id": f"end{m}{n}", "text": f"What is the force on stone {n} of {m} in this case?", "module": m}
            | {
                "after": None,
                "cites": [],
                "solution": "By the law of the lever it multiplies; a steel rope is no help.",
            }
            for m in (dev, other)
            for n in range(20)
        ]
        write_jsonl(sources / kind / "one/passages.jsonl.gz", passages)
        write_jsonl(sources / kind / "one/exercises.jsonl.gz", [*exercises, {**citing, "module": dev}, edition])
    command = [
        sys.executable,
        str(ROOT / "scripts/mini_written.py"),
        str(data),
        "-o",
        str(out),
        "--sources",
        str(sources),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return {"out": out, "leaked": leaked, "gold": gold, "short": short, "problems": keys}


def test_a_question_of_a_test_set_is_in_no_sample_and_is_counted(made):
    subject = SUBJECTS[0].name.split(".")[0]
    queries = [sample.query for sample in read_samples(made["out"] / f"concepts/{subject}.jsonl.gz")]
    dev = read_beir(made["out"] / "concepts-dev", split="dev")
    assert made["leaked"] not in {*queries, *(query.text for query in dev.queries)}
    counts = json.loads((made["out"] / "manifest.json").read_text("utf-8"))["datasets"]
    assert counts[f"concepts/{subject}"]["exact to a query of theoremqa test"] == 1


def test_dev_concepts_and_problems_are_no_training_texts(made):
    held = {"Burnside's lemma", "Lagrange interpolation", "Parseval's theorem"}  # dev concepts under another title
    further = {f"{row['title']} {row['text']}" for path in SUBJECTS for row in rows(path) if row["title"] in held}
    assert len(further) == 3
    for name, files in (
        ("concepts", [made["out"] / kind for kind in ("concepts", "more", "exam")]),
        ("exam", [made["out"] / kind for kind in ("concepts", "more", "exam")]),
        ("posts", [made["out"] / "posts"]),
        ("leetcode", [made["out"] / f"{dataset}.jsonl.gz" for dataset in ("leetcode", "leetcode-ideas")]),
    ):
        task = read_beir(made["out"] / f"{name}-dev", split="dev")
        samples = [sample for place in files for file in sample_files(place) for sample in read_samples(file)]
        texts = {document.id: document.content for document in task.documents}
        assert not {query.text for query in task.queries} & {sample.query for sample in samples}
        if name != "leetcode":
            relevant = {texts[key] for of in task.qrels.relevance.values() for key in of} | further
            assert not relevant & {text for sample in samples for text in sample.pos}
        assert len(task.queries) > 200
        assert len(samples) > 2000


def test_an_examiners_question_has_its_analysis_behind_it(made):
    for file in sample_files(made["out"] / "exam"):
        for sample in read_samples(file):
            assert sample.reasoning_query.startswith(f"{sample.query}\n\n")
            assert len(sample.reasoning_query) > len(sample.query) + 20


def test_gold_problems_are_on_no_side(made):
    words = f"Problem number {made['gold']} in words"
    for sample in read_samples(made["out"] / "leetcode.jsonl.gz"):
        assert sample.query != words
        assert not any(text.startswith(words) for text in sample.pos)


def test_a_problem_that_may_be_used_has_the_explanation_of_its_solution(made):
    samples = list(read_samples(made["out"] / "leetcode-ideas.jsonl.gz"))
    usable = {key for key in made["problems"] if not is_dev(key)} - {made["gold"], made["short"]}
    assert {sample.query for sample in samples} == {f"Problem number {key} in words" for key in usable}
    assert {sample.pos for sample in samples} == {(("We count. " * 20),)}


def test_placed_problems_are_those_that_no_dev_module_asks(made):
    samples = list(read_samples(made["out"] / "books-placed.jsonl.gz"))
    modules = {f"m{number}" for number in range(20)}
    asked = {sample.query.split("house ")[1].split(" ")[0] for sample in samples}
    assert asked == {module for module in modules if not is_dev(module)}
    assert 0 < len(asked) < 20
    assert all(sample.pos == ("Levers A lever multiplies force.",) for sample in samples)


def test_half_of_the_problems_at_a_modules_end_have_the_two_passages_of_it_that_bm25_puts_first(made):
    samples = list(read_samples(made["out"] / "books-searched.jsonl.gz"))
    assert 0 < len(samples) < 20
    assert all(sample.query.startswith("What is the force on stone") for sample in samples)
    assert {sample.pos for sample in samples} == {("Levers A lever multiplies force.", "Ropes A steel rope pulls.")}


@pytest.mark.parametrize(("name", "asked"), [("theoremqa", 2832), ("theoremqa-exam", 2118)])
def test_a_question_of_each_theorem_is_held_out(made, name, asked):
    task = read_beir(made["out"] / f"{name}-dev", split="dev")
    samples = list(read_samples(made["out"] / f"{name}.jsonl.gz"))
    assert len(task.queries) == len(task.documents) == 354
    assert len(samples) == asked - 354
