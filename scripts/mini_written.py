"""Pairs that need no mining, for the later trainings of the small model: what a language model wrote or named, and worked examples.

    python scripts/mini_written.py DATA -o OUT --sources SOURCES

Reads `data/written` (its README says how that was made) and the books that `scripts/mini_sources.py` put into SOURCES, and writes, with
dev sets (BEIR) of concepts, exam, leetcode and theoremqa, and a manifest:

- `concepts/SUBJECT.jsonl.gz`: questions with the entry of the theorem, law or method that they need. Dev: a tenth of the concepts,
  searched among the entries of all subjects. `more/SUBJECT.jsonl.gz`: further concepts, without those that the dev set has.
- `exam/SUBJECT-exam.jsonl.gz`: questions as examiners write them, of all these concepts, with their analysis as `reasoning_query`.
  Dev: those of the held-out concepts, in `exam-dev`.
- `posts/SUBJECT-posts.jsonl.gz`: passages of further fields with posts, short questions and cases that need them; in no recipe
  yet (docs/lab.md, 9). Dev: a tenth of the
  concepts, searched among the passages of all of them.
- `leetcode.jsonl.gz`: a problem with the solved problems that the same idea solves. `leetcode-ideas.jsonl.gz`: a problem with the
  explanation of its own solution. Neither a query's problem nor a gold document
  of bright_leetcode was in the list that the writer saw, nor is one among the texts. Dev: a tenth of the problems as queries; they
  are no training text on either side.
- `facts.jsonl.gz`, `facts-more.jsonl.gz`, `facts-third.jsonl.gz`: yes/no questions with the facts that answer them.
- `books-placed.jsonl.gz`, `pretext-placed.jsonl.gz`: problems with the passage that they stand behind, or the theorems that their solution
  cites; no problem of a dev module of `scripts/mini_data.py`. `books-searched.jsonl.gz`, `pretext-searched.jsonl.gz`: half of the
  problems from the end of a module, with the two passages of that module that BM25 puts first.
- `theoremqa.jsonl.gz`, `theoremqa-exam.jsonl.gz`: questions written for TheoremQA's own theorems, for the in-corpus model alone. Dev: one
  question of each theorem.

No question nearly repeats a query of a test set or of strategyqa_facts dev, and no entry a document of theoremqa
(`dataset.leaks`). The samples have no mined negatives: they are trained in batches of one subject, where the others' passages are
(`batch.group: 1`).
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from mini_data import PROBLEM_WORDS, is_dev, rows, theorem_texts
from train_data import held_out

from reasonembed.adaptation.split import write_beir
from reasonembed.dataset.leaks import LeakFinder
from reasonembed.dataset.samples import write_samples
from reasonembed.io.manifest import now, versions, write_json
from reasonembed.search.bm25 import BM25Searcher
from reasonembed.types import Document, TrainingSample

logger = logging.getLogger("mini_written")

WRITTEN = Path(__file__).parents[1] / "data/written"
DEV_QUESTION = 3
"""Which of a theorem's questions, from 0, is for the dev set: a concrete one."""
IDEA_WORDS = 30
"""Explanations of fewer words are left out: they name a topic or an edition, and no idea."""
Questions = dict[str, tuple[str, list[Document]]]
"""Id of a question -> its text and the documents it needs."""
OTHER_TITLES = {
    "burnside s lemma": "burnside s lemma cauchy frobenius",
    "lagrange interpolation": "lagrange interpolation and its error formula",
    "parseval s theorem": "parseval s identity",
}
"""Name of an entry -> name of the dev concept that it is of."""


def name(title: str) -> str:
    """A title by its letters and digits: two entries of one name are of one concept."""
    plain = re.sub(r"[^a-z0-9]+", " ", title.casefold()).strip()
    return OTHER_TITLES.get(plain, plain)


class Writer:
    """Samples and dev sets into a folder; what leaks is left out and counted.

    Args:
        out: The folder.
        finder: Queries of test and dev sets.

    Attributes:
        counts: Dataset -> what there was.
    """

    def __init__(self, out: Path, finder: LeakFinder) -> None:
        self.out, self._finder = out, finder
        self.counts: dict[str, dict[str, int]] = defaultdict(Counter)

    def clean(self, dataset: str, questions: Questions) -> Questions:
        """The questions that repeat no query of a test or dev set."""
        kept = {}
        for key, (text, documents) in questions.items():
            if (leak := self._finder.query_leak(text)) is None:
                kept[key] = (text, documents)
            else:
                self.counts[dataset][f"{leak.kind} to a query of {leak.test.place.rsplit(':', 1)[0]}"] += 1
        return kept

    def samples(self, dataset: str, questions: Questions, analyses: Mapping[str, str] | None = None) -> None:
        """Write training samples; a question that has an analysis gets it as `reasoning_query`, behind its text."""
        known = analyses or {}
        made = (
            TrainingSample(
                text,
                tuple(dict.fromkeys(document.content for document in documents)),
                (),
                reasoning_query=f"{text}\n\n{known[key]}" if key in known else None,
            )
            for key, (text, documents) in questions.items()
        )
        self.counts[dataset]["samples"] = write_samples(self.out / f"{dataset}.jsonl.gz", made)

    def dev(self, dataset: str, documents: Sequence[Document], questions: Questions) -> None:
        """Write a dev set."""
        judged = {key: (text, [one.id for one in relevant]) for key, (text, relevant) in questions.items()}
        write_beir(self.out / f"{dataset}-dev", documents, judged, split="dev")
        self.counts[dataset]["dev"] = len(judged)


def concepts(writer: Writer, theorems: LeakFinder) -> None:
    """Questions with the entries of their concept, a dataset a subject."""
    entries: dict[str, list[Document]] = defaultdict(list)
    asked: dict[str, list[tuple[str, str, str]]] = {}
    for folder in ("concepts", "more"):
        for path in sorted((WRITTEN / folder).glob("*.jsonl.gz")):
            dataset = f"{folder}/{path.name.removesuffix('.jsonl.gz')}"
            asked[dataset] = []
            for row in rows(path):
                concept = name(row["title"])
                if theorems.query_leak(row["text"]) is not None:
                    writer.counts[dataset]["entry nearly of theoremqa"] += 1
                    continue
                entries[concept].append(Document(f"{folder}/{row['_id']}", row["text"], row["title"]))
                asked[dataset] += [
                    (f"{folder}/{row['_id']}/{number}", text, concept) for number, text in enumerate(row["questions"])
                ]
    first = {concept: [one for one in of if one.id.startswith("concepts/")] for concept, of in entries.items()}
    held = {concept for concept, of in first.items() if of and is_dev(concept)}
    dev: Questions = {}
    for dataset, questions in asked.items():
        if dataset.startswith("concepts/"):
            dev |= writer.clean(
                dataset, {k: (text, first[concept]) for k, text, concept in questions if concept in held}
            )
        known = first if dataset.startswith("concepts/") else entries
        train = {key: (text, known[concept]) for key, text, concept in questions if concept not in held}
        writer.samples(dataset, writer.clean(dataset, train))
    corpus = [one for of in first.values() for one in of]
    writer.dev("concepts", corpus, dev)
    exam(writer, corpus, entries, held)


def exam(
    writer: Writer, corpus: Sequence[Document], entries: Mapping[str, list[Document]], held: Collection[str]
) -> None:
    """Questions as examiners write them; those of held-out concepts are searched among the entries of `concepts/`."""
    concept_of = {document.id: concept for concept, of in entries.items() for document in of}
    searched = {document.id for document in corpus}
    dev: Questions = {}
    for path in sorted((WRITTEN / "exam").glob("*.jsonl.gz")):
        dataset = f"exam/{path.name.removesuffix('.jsonl.gz')}-exam"
        questions: Questions = {}
        analyses = {}
        for number, row in enumerate(rows(path)):
            if (concept := concept_of.get(row["source"])) is None:
                continue
            key = f"{row['source']}/exam/{number}"
            relevant = entries[concept]
            if concept in held:
                relevant = [one for one in relevant if one.id in searched]
            questions[key], analyses[key] = (row["query"], relevant), row["analysis"]
        questions = writer.clean(dataset, questions)
        kept = {key: pair for key, pair in questions.items() if concept_of[key.partition("/exam/")[0]] not in held}
        dev |= {key: pair for key, pair in questions.items() if key not in kept}
        writer.samples(dataset, kept, analyses)
    writer.dev("exam", corpus, dev)


def posts(writer: Writer, theorems: LeakFinder) -> None:
    """Posts and cases with the passage that they need, a dataset a subject."""
    passages = []
    dev: Questions = {}
    for path in sorted((WRITTEN / "posts").glob("*.jsonl.gz")):
        dataset = f"posts/{path.name.removesuffix('.jsonl.gz')}"
        asked: dict[bool, Questions] = {True: {}, False: {}}
        for row in rows(path):
            if theorems.query_leak(row["text"]) is not None:
                writer.counts[dataset]["passage nearly of theoremqa"] += 1
                continue
            passages.append(Document(row["_id"], row["text"], row["title"]))
            for number, text in enumerate(row["questions"]):
                asked[is_dev(name(row["title"]))][f"{row['_id']}/{number}"] = (text, passages[-1:])
        dev |= writer.clean(dataset, asked[True])
        writer.samples(dataset, writer.clean(dataset, asked[False]))
    writer.dev("posts", passages, dev)


def leetcode(writer: Writer, data: Path, finder: LeakFinder) -> None:
    """Problems with the solved problems that the same idea solves."""
    named = {row["id"]: row["alike"] for row in rows(WRITTEN / "leetcode.jsonl.gz")}
    gold = {key for row in rows(data / "bright_leetcode/examples.jsonl.gz") for key in row["gold_ids"]}
    listed = {*named, *(other for others in named.values() for other in others)}
    problems = {
        row["id"]: row
        for row in rows(data / "leetcode/problems.jsonl.gz")
        if row["id"] in listed and row["id"] not in gold and finder.query_leak(row["problem"]) is None
    }
    solved = {key: Document(key, f"{row['problem']}\n\n{row['solution_python']}") for key, row in problems.items()}
    alike: dict[str, dict[str, Document]] = defaultdict(dict)
    for key, others in named.items():
        for other in others:
            if key in solved and other in solved and key != other:
                alike[key][other], alike[other][key] = solved[other], solved[key]
    questions = {
        key: (problems[key]["problem"], [one for one in alike[key].values() if not is_dev(one.id)])
        for key in sorted(alike)
    }
    questions = {key: pair for key, pair in questions.items() if pair[1]}
    writer.counts["leetcode"]["problems that may be used"] = len(problems)
    writer.samples("leetcode", {key: pair for key, pair in questions.items() if not is_dev(key)})
    ideas = {
        key: (row["problem"], [Document(key, row["explanation"])])
        for key, row in problems.items()
        if not is_dev(key) and len((row["explanation"] or "").split()) >= IDEA_WORDS
    }
    writer.samples("leetcode-ideas", ideas)
    texts = [document for key, document in solved.items() if not is_dev(key)]
    writer.dev("leetcode", texts, {key: pair for key, pair in questions.items() if is_dev(key)})


def facts(writer: Writer) -> None:
    """Yes/no questions with the facts that answer them."""
    for dataset in ("facts", "facts-more", "facts-third"):
        questions = {
            str(number): (row["query"], [Document(fact, fact) for fact in row["facts"]])
            for number, row in enumerate(rows(WRITTEN / f"{dataset}.jsonl.gz"))
        }
        writer.samples(dataset, writer.clean(dataset, questions))


def placed(writer: Writer, theorems: LeakFinder, folder: Path) -> None:
    """Problems of books with their passage, known or searched for; no problem of a dev module, nor one that an edition repeats."""
    exercises = [(book.name, row) for book in sorted(folder.iterdir()) for row in rows(book / "exercises.jsonl.gz")]
    passages: dict[tuple[str, str], Document] = {}
    modules: defaultdict[tuple[str, str], list[Document]] = defaultdict(list)
    for book in sorted(folder.iterdir()):
        for row in rows(book / "passages.jsonl.gz"):
            if not is_dev(row["module"]) and theorems.query_leak(row["text"]) is None:
                passage = passages[book.name, row["_id"]] = Document(row["_id"], row["text"], row["title"])
                modules[book.name, row["module"]].append(passage)
    seen = {row["text"] for _, row in exercises if is_dev(row["module"])}
    known: Questions = {}
    searched: Questions = {}
    for title, row in exercises:
        fits = PROBLEM_WORDS[0] <= len(row["text"].split()) <= PROBLEM_WORDS[1]
        if not fits or row["text"] in seen:
            continue
        key = f"{title}/{row['_id']}"
        needed = [passages[title, one] for one in row.get("cites") or [row["after"]] if (title, one) in passages]
        near = (
            nearest(f"{row['text']} {row['solution']}", modules[title, row["module"]])
            if not needed and drawn(key)
            else []
        )
        for found, questions in ((needed, known), (near, searched)):
            if found:
                questions[key] = (row["text"], found)
                seen.add(row["text"])
    for dataset, questions in ((f"{folder.name}-placed", known), (f"{folder.name}-searched", searched)):
        writer.samples(dataset, writer.clean(dataset, questions))


def drawn(key: str) -> bool:
    """Whether a problem without a known passage is in the half that is trained on; all of them would be a third of the steps."""
    return int(hashlib.sha1(key.encode()).hexdigest(), 16) % 2 == 0


def nearest(problem: str, passages: Sequence[Document]) -> list[Document]:
    """The two passages of a module that BM25 puts first for a problem and its solution."""
    if not passages:
        return []
    by_id = {passage.id: passage for passage in passages}
    searcher = BM25Searcher()
    searcher.add(list(by_id), [passage.content for passage in passages])
    return [by_id[hit.id] for hit in searcher.search(problem, 2)[0]]


def theoremqa(writer: Writer, data: Path) -> None:
    """Questions written for TheoremQA's theorems; one of each is for the dev set."""
    corpus = {
        row["_id"]: Document(row["_id"], row["text"], row["title"]) for row in rows(data / "theoremqa/corpus.jsonl.gz")
    }
    for dataset in ("theoremqa", "theoremqa-exam"):
        seen: Counter[str] = Counter()
        train: Questions = {}
        dev: Questions = {}
        for row in rows(WRITTEN / f"{dataset}.jsonl.gz"):
            number = seen[row["source"]]
            seen[row["source"]] += 1
            part = dev if number == DEV_QUESTION else train
            part[f"{row['source']}/{number}"] = (row["query"], [corpus[row["source"]]])
        writer.samples(dataset, writer.clean(dataset, train))
        writer.dev(dataset, list(corpus.values()), writer.clean(dataset, dev))


def main() -> None:
    """Write the datasets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--sources", type=Path, required=True, help="folder of scripts/mini_sources.py")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    finder = held_out(arguments.data)
    writer = Writer(arguments.out, finder)
    theorems = theorem_texts(arguments.data)
    concepts(writer, theorems)
    posts(writer, theorems)
    leetcode(writer, arguments.data, finder)
    facts(writer)
    for kind in ("books", "pretext"):
        placed(writer, theorems, arguments.sources / kind)
    theoremqa(writer, arguments.data)
    counts: Mapping[str, Mapping[str, int]] = {key: dict(found) for key, found in sorted(writer.counts.items())}
    for dataset, found in counts.items():
        logger.info("%s: %s", dataset, found)
    write_json(arguments.out / "manifest.json", {"made": now(), "versions": versions(), "datasets": counts})


if __name__ == "__main__":
    main()
