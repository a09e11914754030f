"""The whole way with a tiny model: a gain that is found and one that is not, what is held out, budgets, and stops anywhere."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from adaptation_small import TRAIN, documents, few, pairs, small
from scripted_llm import scripted
from synth_small import corpus, play

import reasonembed
from reasonembed import Embedder
from reasonembed.adaptation.config import AdaptConfig
from reasonembed.adaptation.folder import Folder
from reasonembed.adaptation.run import adapt, forecast, sentence_of
from reasonembed.adaptation.split import parts_of
from reasonembed.dataset.samples import read_samples
from reasonembed.errors import DataError, MismatchError, ModelError
from reasonembed.evaluation.metrics import Scores
from reasonembed.evaluation.runner import read_results
from reasonembed.evaluation.significance import compare_queries
from reasonembed.io.beir import read_beir
from reasonembed.io.jsonl import read_jsonl
from reasonembed.io.manifest import read_json
from reasonembed.search.index import open_index
from reasonembed.synth.folder import Run
from reasonembed.training.log import read_log
from reasonembed.types import Document


def speaker():
    return scripted(lambda request: play(request.messages[-1].content))


@pytest.fixture(scope="module")
def start(tiny):
    return tiny("bert")


@pytest.fixture(scope="module")
def won(start, tmp_path_factory):
    """A finished adaptation by pairs that helps: (result, its directory, documents, pairs)."""
    root = tmp_path_factory.mktemp("won")
    docs, table = documents(root / "docs"), pairs(root / "pairs.csv")
    os.environ["REASONEMBED_CACHE"] = str(root / "cache")
    return adapt([docs], root / "run", config=small(start, pairs=table), progress=False), root / "run", docs, table


@pytest.fixture(scope="module")
def asked(start, tmp_path_factory):
    """A finished adaptation with a language model and a budget: (result, its directory, documents, different requests)."""
    root = tmp_path_factory.mktemp("asked")
    os.environ["REASONEMBED_CACHE"] = str(root / "cache")
    docs = corpus(root / "docs", 150, words=30).parent
    llm, requests = speaker()
    result = adapt([docs], root / "run", config=few(start, budget_requests=600), llm=llm, progress=False)
    different = {(request.messages, request.sample) for request in requests}
    return result, root / "run", docs, len(different)


@pytest.fixture(scope="module")
def sourced(start, asked, tmp_path_factory):
    """The same where the source of a question is its label: (result, its directory, documents, different requests)."""
    root = tmp_path_factory.mktemp("sourced")
    os.environ["REASONEMBED_CACHE"] = str(root / "cache")
    llm, requests = speaker()
    config = few(start, labels="source", budget_requests=600)
    result = adapt([asked[2]], root / "run", config=config, llm=llm, progress=False)
    return result, root / "run", asked[2], len({(request.messages, request.sample) for request in requests})


# --- a gain ---------------------------------------------------------------------------------------------------------------------


def test_the_answer_is_that_of_the_scores(won):
    result, run, _, _ = won
    candidate = read_json(run / "manifest.json")["result"]["candidate"]
    after, before = (
        read_results(run / f"scores/{name}")["beir/test"].scores.per_query["ndcg@10"] for name in (candidate, "before")
    )
    assert after.keys() == before.keys()
    expected = compare_queries(list(after.values()), list(before.values()))
    assert (result.after, result.before, result.p) == (expected.mean_a, expected.mean_b, expected.p_permutation)
    assert result.better
    assert result.gain == pytest.approx(result.after - result.before)
    assert result.sentence.startswith(
        f"The tuned model finds {result.gain / result.before:.0%} more of what is asked (nDCG@10 "
    )
    assert result.sentence.endswith(f'Search it: reasonembed search {run}/index "your question"')


def test_the_scores_can_be_had_again_from_the_models(won, start):
    result, run, _, _ = won
    task = read_beir(run / "test")
    texts = [document.content for document in task.documents]
    for model, expected in ((start, result.before), (result.model, result.after)):
        embedder = Embedder(model, engine="torch")
        scores = embedder.encode_queries([query.text for query in task.queries]) @ embedder.encode_corpus(texts).T
        gains = []
        for query, row in zip(task.queries, scores, strict=True):
            (gold,) = task.qrels.relevance[query.id]
            place = [document.id for document in task.documents].index(gold)
            rank = int((row > row[place]).sum())
            gains.append(1 / np.log2(rank + 2) if rank < 10 else 0.0)
        assert np.mean(gains) == pytest.approx(
            expected, abs=0.03
        )  # bfloat16 on some machines: near ranks may change places


def test_the_index_is_of_the_better_model_and_finds_what_was_asked(won):
    result, run, _, _ = won
    assert result.model == run / "training/model"
    assert (
        read_json(run / "index/index.json")["model_fingerprint"] == Embedder(result.model, engine="torch").fingerprint
    )
    index = open_index(result.index)
    task = read_beir(run / "test")
    found = index.search_many([query.text for query in task.queries], 10)
    hits = [
        next(iter(task.qrels.relevance[query.id])) in {hit.document.id for hit in row}
        for query, row in zip(task.queries, found, strict=True)
    ]
    assert np.mean(hits) > 0.8


def test_pairs_are_held_out_with_their_documents(won):
    _, run, docs, _ = won
    ids = [f"d{place}" for place in range(160)]
    part = dict(zip(ids, parts_of(ids, seed=42), strict=True))
    texts = {row["id"]: row["text"] for _, row in read_jsonl(docs / "lemmas.jsonl")}
    held = {texts[one] for one in ids if part[one] != "train"}
    samples = list(read_samples(run / "data/pairs.jsonl"))
    assert len(samples) == sum(one == "train" for one in part.values())
    assert not held & {text for sample in samples for text in (*sample.pos, *sample.neg)}
    for split in ("dev", "test"):
        task = read_beir(run / split, split=split)
        assert len(task.documents) == 160
        assert {key for grades in task.qrels.relevance.values() for key in grades} == {
            one for one in ids if part[one] == split
        }


def test_the_report_says_it_first_and_shows_what_changed(won):
    result, run, _, _ = won
    page = result.report.read_text()
    assert page.index("The tuned model finds") < page.index("<h2>Scores</h2>") < page.index("<h2>Steps</h2>")
    assert page.count("✓") >= 10
    assert '<a href="training/report.html">' in page
    assert "synth/report.html" not in page
    assert "http" not in page[page.index("<body>") :].replace("http-equiv", "")
    assert result.report == run / "report.html"


def test_a_finished_run_is_only_read(won, start, monkeypatch):
    result, run, docs, table = won
    monkeypatch.setattr("reasonembed.adaptation.run._prepared", None)
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    assert adapt([docs], run, config=small(start, pairs=table), progress=False) == result
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before
    assert reasonembed.adapt is adapt


def test_changed_settings_are_refused_by_name(won, start):
    _, run, docs, table = won
    with pytest.raises(
        MismatchError, match=r"differs in seed, train.batch.group. Fix: name a new folder, or set it back"
    ):
        adapt([docs], run, config=small(start, pairs=table, seed=1, train={**TRAIN, "batch.group": 3}), progress=False)
    with pytest.raises(MismatchError, match="differs in docs"):
        adapt([docs / "lemmas.jsonl"], run, config=small(start, pairs=table), progress=False)
    with pytest.raises(MismatchError, match="differs in language model"):
        adapt([docs], run, config=small(start, pairs=table), llm=speaker()[0], progress=False)


def test_changed_pairs_are_refused(won, start, tmp_path):
    _, run, docs, _ = won
    with pytest.raises(MismatchError, match="differs in pairs"):
        adapt([docs], run, config=small(start, pairs=pairs(tmp_path / "p.csv", shift=1)), progress=False)


# --- no gain --------------------------------------------------------------------------------------------------------------------


def test_where_nothing_can_be_learned_the_start_stays(start, tmp_path, monkeypatch):
    monkeypatch.setattr("reasonembed.adaptation.steps.DEV_PASSAGES", 60)
    docs, table = documents(tmp_path / "docs"), pairs(tmp_path / "pairs.csv", shift=37)  # questions for other documents
    result = adapt([docs], tmp_path / "run", config=small(start, pairs=table), progress=False)
    dev, test = (read_beir(tmp_path / "run" / split, split=split) for split in ("dev", "test"))
    assert (len(dev.documents), len(test.documents)) == (60, 160)  # dev questions among some, test questions among all
    assert {key for grades in dev.qrels.relevance.values() for key in grades} < {one.id for one in dev.documents}
    assert len(dev.queries) > 3
    assert not result.better
    assert result.sentence.startswith("It does not help here: ")
    assert f"keep {start}. Search it: " in result.sentence
    assert result.model == start
    assert (
        read_json(tmp_path / "run/index/index.json")["model_fingerprint"] == Embedder(start, engine="torch").fingerprint
    )


@pytest.mark.parametrize(("before", "gain", "p", "better", "said"), [
    (0.5, 0.1, 0.0004, True, "The tuned model finds 20% more of what is asked (nDCG@10 50.0 -> 60.0, p < 0.001, 40 test questions)"),
    (0.0, 0.1, 0.01, True, "finds what the starting model does not (nDCG@10 0.0 -> 10.0, p 0.010"),
    (0.5, 0.1, 0.2, False, "does not help here: the gain may be chance (nDCG@10 50.0 -> 60.0, p 0.200, 40 test questions); keep m."),
    (0.5, -0.1, 0.01, False, "does not help here: the tuned model finds no more (nDCG@10 50.0 -> 40.0"),
])  # fmt: skip
def test_the_sentence(before, gain, p, better, said):
    found = {
        "better": better,
        "candidate": "after",
        "mean_a": before + gain,
        "mean_b": before,
        "difference": gain,
        "p_permutation": p,
        "n_queries": 40,
    }
    assert said in sentence_of(found, index=Path("run/index"), model="m")


@pytest.mark.parametrize(("candidate", "name"), [
    ("before-expanded", "he starting model, with documents expanded by questions, finds "),
    ("after-expanded", "he tuned model, with documents expanded by questions, finds "),
])  # fmt: skip
def test_the_sentence_names_what_was_compared(candidate, name):
    found = {
        "candidate": candidate,
        "mean_a": 0.6,
        "mean_b": 0.5,
        "difference": 0.1,
        "p_permutation": 0.01,
        "n_queries": 40,
    }
    told = {"index": Path("run/index"), "model": "m"}
    assert sentence_of({**found, "better": True}, **told).startswith(f"T{name}20% more of what is asked")
    worse = {**found, "better": False, "mean_a": 0.4, "difference": -0.1}
    assert f"It does not help here: t{name}no more" in sentence_of(worse, **told)


# --- with a language model ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("labels", ["asked", "sourced"])
def test_a_held_out_document_is_neither_source_nor_positive_nor_negative(labels, request):
    _, run, docs, _ = request.getfixturevalue(labels)
    texts = {row["id"]: row["text"] for _, row in read_jsonl(docs / "docs.jsonl")}
    part = dict(zip(texts, parts_of(list(texts), seed=42), strict=True))
    synth = Run(run / "synth")
    train = {one for one in texts if part[one] == "train"}
    assert set(synth.documents.ids) == train
    assert {query.source for query in synth.queries()} <= train
    samples = list(read_samples(run / "data/synth.jsonl"))
    assert {text for sample in samples for text in (*sample.pos, *sample.neg)} <= {texts[one] for one in train}
    for split in ("dev", "test"):
        task = read_beir(run / split, split=split)
        sources = {key for grades in task.qrels.relevance.values() for key in grades}
        assert sources <= {one for one in texts if part[one] == split}
        written = {query.text: query.source for query in Run(run / f"heldout/{split}").queries()}
        assert {query.text: next(iter(task.qrels.relevance[query.id])) for query in task.queries} == written
        assert len(task.documents) == len(texts)


def test_the_source_of_a_question_is_its_label(sourced, asked):
    _, run, _, requests = sourced
    synth = Run(run / "synth")
    sources = {query.text: synth.documents.get(query.source).content for query in synth.queries()}
    samples = list(read_samples(run / "data/synth.jsonl"))
    assert samples
    assert all(sample.pos == (sources[sample.query],) and sample.neg for sample in samples)
    assert synth.report("annotate") is None
    assert (run / "synth/report.html").is_file()
    judged, mine = (read_json(path / "manifest.json")["decisions"]["sources"]["train"] for path in (asked[1], run))
    assert mine > 2 * judged  # the same budget reaches further
    assert requests <= 600
    steps = read_json(run / "manifest.json")["steps"]
    assert steps["synth"]["requests"] + steps["heldout"]["requests"] == requests


def test_an_estimate_without_judging_is_a_part_of_the_run(start, tmp_path, sourced):
    llm, requests = speaker()
    config = few(start, labels="source", budget_requests=600)
    made = forecast([sourced[2]], tmp_path / "run", config=config, llm=llm, progress=False)
    assert made.samples > 8
    result = adapt([sourced[2]], tmp_path / "run", config=config, llm=llm, progress=False)
    assert len({(request.messages, request.sample) for request in requests}) == sourced[3]
    assert (result.before, result.after) == (sourced[0].before, sourced[0].after)


def test_the_budget_is_kept(asked):
    _, run, _, requests = asked
    steps = read_json(run / "manifest.json")["steps"]
    assert steps["synth"]["requests"] + steps["heldout"]["requests"] == requests
    assert 300 < requests <= 600
    assert "600 requests: " in read_json(run / "manifest.json")["decisions"]["sources"]["why"]
    assert "600 requests: " in (run / "report.html").read_text()


def test_what_was_decided_was_done(asked):
    _, run, _, _ = asked
    manifest = read_json(run / "manifest.json")
    assert Run(run / "synth").config.sources.n == manifest["decisions"]["sources"]["train"]
    settings = read_json(run / "training/manifest.json")["settings"]
    assert settings["loss"] == {"name": "infonce"}  # no sample has an analysis
    assert settings["data"][0]["queries"] == manifest["decisions"]["training"]["batches"]["synth"] == 8
    assert (run / "synth/report.html").is_file()
    assert '<a href="synth/report.html">' in (run / "report.html").read_text()


def test_samples_with_an_analysis_are_weighted(start, tmp_path, asked):
    told = few(start, synth={**few(start).synth, "reasoning.enabled": True, "sources.n": 40})
    adapt([asked[2]], tmp_path / "run", config=told, llm=speaker()[0], progress=False)
    settings = read_json(tmp_path / "run/training/manifest.json")["settings"]
    assert settings["loss"]["name"] == "ri_infonce"
    assert 0 < settings["loss"]["start_step"] < 100
    assert all(sample.reasoning_query for sample in read_samples(tmp_path / "run/data/synth.jsonl"))


def test_an_estimate_is_a_part_of_the_run(start, tmp_path, asked):
    llm, requests = speaker()
    made = forecast([asked[2]], tmp_path / "run", config=few(start), llm=llm, progress=False)
    assert made.passages == sum(made.parts.values()) == 150
    assert made.rows[-1].step == "in all"
    assert "heldout" not in read_json(tmp_path / "run/manifest.json")["steps"]
    sample = len(requests)
    again = forecast([asked[2]], tmp_path / "run", config=few(start, budget_requests=600), llm=llm, progress=False)
    assert len(requests) == sample  # it is not measured again
    assert "600 requests: " in again.why
    result = adapt([asked[2]], tmp_path / "run", config=few(start, budget_requests=600), llm=llm, progress=False)
    assert (result.before, result.after, result.p) == (asked[0].before, asked[0].after, asked[0].p)
    with pytest.raises(DataError, match="this run has begun"):
        forecast([asked[2]], tmp_path / "run", config=few(start), llm=llm, progress=False)


def test_another_budget_or_language_model_later_is_refused(start, asked, tmp_path):
    shutil.copytree(asked[1], tmp_path / "run")
    manifest = read_json(tmp_path / "run/manifest.json")
    manifest.pop("result")
    manifest["steps"].pop("synth")
    (tmp_path / "run/manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(MismatchError, match=r"another budget: hours None, now 2.0, budget_requests 600, now None"):
        adapt([asked[2]], tmp_path / "run", config=few(start, hours=2), llm=speaker()[0], progress=False)
    manifest["decisions"]["language model"]["name"] = "other"
    (tmp_path / "run/manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(MismatchError, match="begun with the language model other, not scripted"):
        adapt([asked[2]], tmp_path / "run", config=few(start, budget_requests=600), llm=speaker()[0], progress=False)


def test_hours_bound_the_training(start, tmp_path, won):
    config = small(start, pairs=won[3], hours=1e-5)
    adapt([won[2]], tmp_path / "run", config=config, progress=False)
    decided = read_json(tmp_path / "run/manifest.json")["decisions"]["training"]
    assert 1 <= decided["steps"] < 40
    assert "a step" in decided["why"]
    assert decided["batches"] == {"pairs": 8}  # of 32 the hours allow too few
    steps = [row["step"] for row in read_log(tmp_path / "run/training/log.jsonl") if "loss" in row]
    assert len(steps) <= decided["steps"]
    assert not (tmp_path / "run/training.probe").exists()


# --- stops ----------------------------------------------------------------------------------------------------------------------


def outcome(run: Path) -> dict[str, object]:
    """What must be the same, however often a run was stopped."""
    result = read_json(run / "manifest.json")["result"]
    names = (
        "train.jsonl",
        "test/queries.jsonl",
        "dev/queries.jsonl",
        "data/synth.jsonl",
        "data/pairs.jsonl",
        "scores/after/beir/test.trec",
    )
    texts = {name: (run / name).read_bytes() for name in names if (run / name).is_file()}
    return {**{name: value for name, value in result.items() if name != "start"}, **texts}


def test_a_stop_after_any_step_changes_nothing(start, asked, tmp_path, monkeypatch):
    """Every step is done, the note of it is lost, and it is done again."""
    write, lost = Folder._write, set()

    def losing(folder):
        key = (len(folder.steps), len(folder.decisions), folder.result is None)
        if key in lost or not (folder / "manifest.json").is_file():
            write(folder)
        else:
            lost.add(key)
            raise KeyboardInterrupt

    monkeypatch.setattr(Folder, "_write", losing)
    for _ in range(40):
        try:
            adapt(
                [asked[2]], tmp_path / "run", config=few(start, budget_requests=600), llm=speaker()[0], progress=False
            )
            break
        except KeyboardInterrupt:
            continue
    assert len(lost) > 12
    assert outcome(tmp_path / "run") == outcome(asked[1])


CHILD = """
import json, sys
from adaptation_small import small
from reasonembed import adapt
adapt([sys.argv[1]], sys.argv[2], config=small(sys.argv[3], pairs=sys.argv[4]), progress=False)
"""


def test_kill_nine_within_the_training_changes_nothing(won, start, tmp_path):
    _, run, docs, table = won
    command = [sys.executable, "-c", CHILD, str(docs), str(tmp_path / "run"), str(start), str(table)]
    root = Path(__file__).parents[2]
    process = subprocess.Popen(command, cwd=root, env={**os.environ, "PYTHONPATH": f"{root}:{root / 'tests'}"})
    while process.poll() is None and not list((tmp_path / "run/training/checkpoints").glob("*/complete.json")):
        time.sleep(0.005)
    assert process.poll() is None, "it was finished before it could be killed"
    process.send_signal(signal.SIGKILL)
    process.wait()
    adapt([docs], tmp_path / "run", config=small(start, pairs=table), progress=False)
    assert outcome(tmp_path / "run") == outcome(run)


# --- what is refused ------------------------------------------------------------------------------------------------------------


def test_nothing_to_learn_from(tmp_path, start):
    docs = documents(tmp_path / "docs")
    with pytest.raises(DataError, match=r"nothing to learn from. Fix: a language model \(--llm\), or pairs"):
        adapt([docs], tmp_path / "run", config=small(start))
    assert not (tmp_path / "run").exists()


def test_a_run_within_the_documents_or_over_other_files(tmp_path, start):
    docs, table = documents(tmp_path / "docs"), pairs(tmp_path / "pairs.csv")
    with pytest.raises(DataError, match="the run directory lies within the documents"):
        adapt([tmp_path], tmp_path / "run", config=small(start, pairs=table))
    with pytest.raises(DataError, match="exists and is no adaptation"):
        adapt([docs / "lemmas.jsonl"], tmp_path / "docs", config=small(start, pairs=table))
    with pytest.raises(DataError, match="no such file or folder"):
        adapt([tmp_path / "dosc"], tmp_path / "run", config=small(start, pairs=table))
    with pytest.raises(DataError, match="neither a URL nor a file"):
        adapt([docs], tmp_path / "run", config=small(start, llm="qwen.gguf"))


@pytest.mark.parametrize("model", ["sentence-transformers/not-there", "shipped"])
def test_a_model_that_cannot_be_tuned(tmp_path, model):
    from reasonembed.model import mini

    docs, table = documents(tmp_path / "docs"), pairs(tmp_path / "pairs.csv")
    place = str(mini.path()) if model == "shipped" else model
    with pytest.raises(
        ModelError, match=r"cannot be tuned: .* Fix: name a directory or hub name of torch weights with --model"
    ):
        adapt([docs], tmp_path / "run", config=AdaptConfig(model=place, pairs=table), progress=False)
    assert not (tmp_path / "run").exists()


def test_too_few_test_questions(tmp_path, start):
    docs, table = documents(tmp_path / "docs"), pairs(tmp_path / "pairs.csv", 20)
    with pytest.raises(DataError, match=r"too little data: \d questions about held-out documents, 6 are the fewest"):
        adapt([docs], tmp_path / "run", config=small(start, pairs=table), progress=False)


def test_too_few_samples(tmp_path, start):
    ids = [f"d{place}" for place in range(160)]
    parts = parts_of(ids, seed=42)
    kept = [place for place, part in enumerate(parts) if part == "test"] + [parts.index("train")]
    docs, table = documents(tmp_path / "docs"), pairs(tmp_path / "pairs.csv")
    lines = table.read_text().splitlines(keepends=True)
    table.write_text("".join([lines[0], *(lines[1 + place] for place in kept)]))
    with pytest.raises(DataError, match=r"too little data: 1 training samples, 8 are the fewest. Fix: more documents"):
        adapt([docs], tmp_path / "run", config=small(start, pairs=table), progress=False)
    assert len(open_index(tmp_path / "run/index")) == 160


def test_equal_texts_are_held_out_together(tmp_path, start):
    docs, table = documents(tmp_path / "docs"), pairs(tmp_path / "pairs.csv")
    ids = [f"d{place}" for place in range(160)]
    test = ids[parts_of(ids, seed=42).index("test")]
    rows = [row for _, row in read_jsonl(docs / "lemmas.jsonl")]
    text = next(row["text"] for row in rows if row["id"] == test)
    copies = [f"copy{place}" for place in range(12)]
    with (docs / "lemmas.jsonl").open("a") as file:
        file.writelines(json.dumps({"id": one, "text": text.upper()}) + "\n" for one in copies)
    forecast([docs], tmp_path / "run", config=small(start, pairs=table), progress=False)
    assert {"train", "test"} <= set(parts_of(copies, seed=42))  # by themselves they would lie apart
    held = {row["id"] for _, row in read_jsonl(tmp_path / "run/heldout/test.jsonl")}
    assert {test, *copies} <= held


def test_without_a_model_the_one_that_ships_is_unpacked_and_tuned(tmp_path):
    from reasonembed.adaptation.folder import Folder
    from reasonembed.adaptation.run import _start_model
    from reasonembed.model import mini

    folder = Folder(tmp_path / "run", [tmp_path], AdaptConfig(), asks=True)
    start = _start_model(folder, AdaptConfig())
    assert start.checkpoint.path == tmp_path / "run/start" / mini.NAME
    weights = start.checkpoint.path / "model.safetensors"
    made = weights.stat().st_mtime_ns
    assert _start_model(folder, AdaptConfig()).fingerprint == start.fingerprint
    assert weights.stat().st_mtime_ns == made, "what is unpacked is not unpacked again"


def test_questions_of_one_passage_are_one_piece_of_evidence(tmp_path, monkeypatch):
    from reasonembed.adaptation.split import write_beir
    from reasonembed.adaptation.tuning import compared
    from reasonembed.evaluation import runner

    before = {f"q{n}": 0.2 for n in range(40)}
    scores = {"before": before, "after": {**before, **dict.fromkeys([f"q{n}" for n in range(20)], 0.9)}}

    def read(path):
        values = scores[path.name]
        return {"beir/test": runner.Result("beir/test", "test", "ndcg@10", Scores({"ndcg@10": values}, {}), {})}

    monkeypatch.setattr(runner, "read_results", read)
    documents = [Document(f"d{n}", f"text {n}") for n in range(40)]
    found = {}
    for each in (1, 20):
        folder = Folder(tmp_path / str(each), [tmp_path], AdaptConfig(), asks=True)
        write_beir(
            folder / "test", documents, {f"q{n}": (f"question {n}", [f"d{n // each}"]) for n in range(40)}, split="test"
        )
        found[each] = compared(folder, "after", "before")
    for comparison in found.values():
        assert comparison.n_queries == 40
        assert (comparison.mean_b, comparison.difference) == (pytest.approx(0.2), pytest.approx(0.35))
    assert found[1].p_permutation < 0.001
    assert found[20].p_permutation > 0.3  # two passages
