"""Our models inside mteb: the same hits and scores as `reasonembed.evaluate`, instructions on queries alone, exclusions kept."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

from reasonembed import Embedder, evaluate
from reasonembed.errors import DataError
from reasonembed.io.beir import read_beir
from reasonembed.protocols import GENERIC_INSTRUCTION, instruction_for

mteb = pytest.importorskip("mteb", reason="mteb is not installed: pip install 'reasonembed[mteb]'")

from reasonembed.mteb import MtebEncoder  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")

WORDS = ["matrix", "eigenvalue", "query", "document", "theorem", "states", "finds", "the", "an", "has"]
FORMAT = "Instruct: {}\nQuery: {}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A BEIR folder of 40 documents, some with titles and outer blanks, and 12 queries, one of which excludes its best hits."""
    folder, drawn = tmp_path_factory.mktemp("words"), np.random.default_rng(3)
    texts = [" ".join(drawn.choice(WORDS, 8)) for _ in range(52)]
    documents = [{"_id": f"d{n}", "title": WORDS[n % 10] if n % 3 else "", "text": texts[n]} for n in range(40)]
    documents[0]["text"] = f" {documents[0]['text']}\n"
    queries = [{"_id": f"q{n}", "text": texts[40 + n]} for n in range(12)]
    queries[1]["excluded_ids"] = [f"d{n}" for n in range(5, 20)]
    (folder / "qrels").mkdir()
    for name, rows in (("corpus", documents), ("queries", queries)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    judged = "".join(f"q{n}\td{n * 3 % 40}\t{1 + n % 2}\nq{n}\td{(n * 7 + 21) % 40}\t1\n" for n in range(12))
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged)
    return folder


@pytest.fixture(scope="module")
def taught(tiny):
    """A random Qwen3 that takes instructions."""
    return Embedder(tiny("qwen3"), dtype="float32", query_format=FORMAT, instruction="Of the model itself.")


def task_of(folder, *, name="LocalWords", prompt=None, exclude=False):
    """An mteb task over a BEIR folder; `exclude` leaves documents out as mteb's BRIGHT tasks do, by `top_ranked`."""
    from datasets import Dataset
    from mteb.abstasks import AbsTaskRetrieval
    from mteb.abstasks.task_metadata import TaskMetadata

    ours = read_beir(folder)

    class LocalWords(AbsTaskRetrieval):
        metadata = TaskMetadata(
            name=name, description="words", dataset={"path": str(folder), "revision": "1"}, type="Retrieval", category="t2t",
            eval_splits=["test"], eval_langs=["eng-Latn"], main_score="ndcg_at_10", prompt=prompt,
        )  # fmt: skip

        def load_data(self, **_):
            corpus = [{"id": one.id, "title": one.title, "text": one.text} for one in ours.documents]
            left = {
                query.id: [one.id for one in ours.documents if one.id not in ours.excluded.get(query.id, ())]
                for query in ours.queries
            }
            split = {
                "corpus": Dataset.from_list(corpus),
                "queries": Dataset.from_list([{"id": query.id, "text": query.text} for query in ours.queries]),
                "relevant_docs": {query: dict(grades) for query, grades in ours.qrels.relevance.items()},
                "top_ranked": left if exclude else None,
            }
            self.dataset = {"default": {"test": split}}
            self.data_loaded = True

    return LocalWords()


def through_mteb(model, task, out):
    """nDCG@10 as mteb gives it, and the hits it kept: query -> document -> score."""
    results = mteb.evaluate(
        model,
        task,
        cache=None,
        prediction_folder=out,
        encode_kwargs={"show_progress_bar": False},
        show_progress_bar=False,
    )
    [scores] = results[0].scores["test"]
    [file] = out.rglob("*.json")
    return scores["ndcg_at_10"], json.loads(file.read_text())["default"]["test"]


@pytest.mark.parametrize("exclude", [False, True], ids=["all documents", "with exclusions"])
@pytest.mark.parametrize("protocol", ["mteb", "reasonembed"])
def test_scores_and_hits_are_those_of_our_own_evaluation(folder, taught, protocol, exclude, tmp_path):
    ours = read_beir(folder)
    if not exclude:
        ours = type(ours)(ours.name, ours.benchmark, ours.documents, ours.queries, ours.qrels)
    expected = evaluate(ours, taught, protocol=protocol, cache=False)
    score, hits = through_mteb(MtebEncoder(taught, protocol=protocol), task_of(folder, exclude=exclude), tmp_path)
    assert 0.05 < score < 0.95
    assert score == pytest.approx(round(expected.scores.means["ndcg@10"], 5), abs=1e-6)  # mteb rounds to five digits
    for query, found in expected.run.scores().items():
        assert hits[query] == pytest.approx(found, abs=1e-6)


def batches(**columns):
    """A DataLoader as mteb makes it, two texts a batch."""
    from torch.utils.data import DataLoader

    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    return DataLoader(rows, batch_size=2)


def encoded(model, prompt_type, *, name="SomeTask", prompt=None, **columns):
    metadata = SimpleNamespace(name=name, prompt=prompt)
    return model.encode(
        batches(**columns), task_metadata=metadata, hf_split="test", hf_subset="default", prompt_type=prompt_type,
        batch_size=32,
    )  # fmt: skip


TEXTS = ["the query finds", "a matrix has an eigenvalue", "the theorem"]


def test_the_instruction_stands_before_queries_alone(taught):
    model = MtebEncoder(taught, protocol="reasonembed")
    written = [FORMAT.format(GENERIC_INSTRUCTION, text) for text in TEXTS]
    assert np.allclose(encoded(model, "query", text=TEXTS), taught.encode_corpus(written), atol=1e-6)
    assert np.allclose(encoded(model, "document", text=TEXTS), taught.encode_corpus(TEXTS), atol=1e-6)
    assert np.allclose(encoded(model, None, text=TEXTS), taught.encode_corpus(TEXTS), atol=1e-6)


def test_titles_and_texts_are_joined_as_everywhere(taught):
    joined = ["Lemma a matrix", " the theorem\n"]
    given = encoded(
        MtebEncoder(taught), "document", text=["?", "?"], title=["Lemma", ""], body=["a matrix ", joined[1]]
    )
    assert np.allclose(given, taught.encode_corpus(joined), atol=1e-6)


def test_a_model_without_instructions_gets_none(tiny):
    plain = Embedder(tiny("bert"), dtype="float32")
    for protocol in ("mteb", "reasonembed"):
        given = encoded(MtebEncoder(plain, protocol=protocol), "query", prompt={"query": "Find: "}, text=TEXTS)
        assert np.allclose(given, plain.encode_corpus(TEXTS), atol=1e-6)


OUR_NAMES = [
    ("BrightBiologyRetrieval", "bright/biology"),
    ("BrightEarthScienceRetrieval", "bright/earth_science"),
    ("BrightTheoremQATheoremsRetrieval", "bright/theoremqa_theorems"),
    ("BrightPonyLongRetrieval", "bright-long/pony"),
    ("R2MEDMedXpertQAExamRetrieval", "r2med/MedXpertQA-Exam"),
    ("R2MEDIIYiClinicalRetrieval", "r2med/IIYi-Clinical"),
]


@pytest.mark.parametrize(("name", "ours"), OUR_NAMES)
def test_tasks_are_known_by_mtebs_names(taught, name, ours):
    metadata = mteb.get_task(name).metadata
    assert MtebEncoder(taught, protocol="reasonembed").plan(metadata).instruction == instruction_for(ours)
    assert instruction_for(ours) != GENERIC_INSTRUCTION


def test_under_mtebs_protocol_every_task_of_both_benchmarks_has_mtebs_own_prompt(taught):
    names = [*mteb.get_benchmark("BRIGHT(v1.1)").tasks, *mteb.get_benchmark("R2MED").tasks]
    known = [task.metadata for task in names]
    assert len(known) == 28
    for metadata in known:
        plan = MtebEncoder(taught).plan(metadata)
        assert plan.instruction == (metadata.prompt or {}).get("query"), metadata.name
        assert metadata.main_score == {"ndcg@10": "ndcg_at_10", "recall@1": "recall_at_1"}[plan.metric]


def test_under_mtebs_protocol_another_task_has_the_prompt_of_its_metadata(taught):
    metadata = mteb.get_task("SciFact").metadata
    assert metadata.prompt["query"]
    assert MtebEncoder(taught).plan(metadata).instruction == metadata.prompt["query"]


def test_similarities_are_cosines_of_arrays_and_tensors():
    import torch

    model = MtebEncoder(Embedder())
    a, b = np.random.default_rng(0).normal(size=(2, 4, 6)).astype(np.float32)
    expected = (a @ b.T) / np.outer(np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1))
    for left, right in ((a, b), (torch.from_numpy(a), torch.from_numpy(b))):
        assert np.allclose(model.similarity(left, right).numpy(), expected, atol=1e-6)
        assert np.allclose(model.similarity_pairwise(left, right).numpy(), np.diag(expected), atol=1e-6)


def test_scores_of_different_vectors_or_protocols_are_filed_apart(tiny):
    one, other = (Embedder(tiny("bert"), dtype="float32", truncate_dim=dim) for dim in (None, 8))
    metas = [
        MtebEncoder(one).mteb_model_meta, MtebEncoder(one, protocol="reasonembed").mteb_model_meta,
        MtebEncoder(other).mteb_model_meta,
    ]  # fmt: skip
    assert len({(meta.name, meta.revision, meta.experiment_name) for meta in metas}) == 3
    assert metas[0].name == "reasonembed/bert"
    assert (metas[0].embed_dim, metas[2].embed_dim) == (32, 8)


def test_an_unknown_protocol_is_refused(taught):
    with pytest.raises(DataError, match="protocol 'beir' is unknown"):
        encoded(MtebEncoder(taught, protocol="beir"), "query", text=TEXTS)
