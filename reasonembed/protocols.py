"""Tasks, instructions and settings of the benchmarks, by protocol; the only place for instructions.

A score is comparable only with scores of the same protocol: the same task has different instructions, lengths
and depths in the ReasonEmbed paper, in BRIGHT's own code and in mteb. Task names are written
`benchmark/name`, e.g. `bright/biology`, `bright-long/pony`, `r2med/PMC-Clinical`, `beir/scifact`; `-` and
`_`, upper and lower case are the same.
"""

from __future__ import annotations

from dataclasses import dataclass

from reasonembed.errors import DataError

# BRIGHT: config names of the Hub dataset xlangai/BRIGHT, in the order of the paper's tables (paper.md 3.1).
BRIGHT_TASKS = (
    "biology", "earth_science", "economics", "psychology", "robotics", "stackoverflow", "sustainable_living",
    "leetcode", "pony",
    "aops", "theoremqa_questions", "theoremqa_theorems",
)  # fmt: skip
# The eight that have `long_documents` (xlangai/BRIGHT; FlagEmbedding 1.4.2 evaluation/bright/data_loader.py).
BRIGHT_LONG_TASKS = (*BRIGHT_TASKS[:7], "pony")
# R2MED: names of the Hub datasets R2MED/<name>, in the order of the paper's table (paper.md 3.2).
R2MED_TASKS = (
    "Biology", "Bioinformatics", "Medical-Sciences", "MedXpertQA-Exam", "MedQA-Diag",
    "PMC-Treatment", "PMC-Clinical", "IIYi-Clinical",
)  # fmt: skip

GENERIC_INSTRUCTION = "Given a question, retrieve the passages that help answer it."
"""For tasks that no protocol names; our own wording."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How one task is run and scored under one protocol.

    Attributes:
        metric: Headline metric, a key of `evaluation.metrics`.
        depth: Hits kept for each query, excluded documents not counted.
        query_max_length: Tokens; None is the model's own.
        document_max_length: Tokens; None is the model's own.
        note: What is uncertain or particular; empty if nothing.
    """

    metric: str = "ndcg@10"
    depth: int = 1000
    query_max_length: int | None = None
    document_max_length: int | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Relevance:
    """What makes a document relevant in a task: for rewriting queries and for judging documents.

    Attributes:
        query_type: What a query is: "Biology post".
        document_type: What a document is: "passage".
        definition: Ends the sentence "A document is relevant if".
        kind: Which prompt rewrites the queries: a file of search/prompts/rewrite.
    """

    query_type: str
    document_type: str
    definition: str
    kind: str

    def words(self) -> dict[str, str]:
        """Values for the placeholders of a prompt."""
        return {"query_type": self.query_type, "document_type": self.document_type, "definition": self.definition}


_POST_NAMES = {
    "biology": "Biology", "earth_science": "Earth Science", "economics": "Economics",
    "psychology": "Psychology", "robotics": "Robotics", "stackoverflow": "Stack Overflow",
    "sustainable_living": "Sustainable Living",
}  # fmt: skip


def _article(noun: str) -> str:
    return f"{'an' if noun[0] in 'AEIOU' else 'a'} {noun}"


# Protocol `reasonembed`: paper.md 4 [REPO], equal to FlagEmbedding 1.4.2 evaluation/bright/prompts.py.
_MATH_EXAMPLES = "Given a Math problem, retrieve relevant examples that help answer the problem."
_REASONEMBED_BRIGHT = {
    **{
        task: f"Given {_article(noun)} post, retrieve relevant passages that help answer the post."
        for task, noun in _POST_NAMES.items()
    },
    "leetcode": "Given a Coding problem, retrieve relevant examples that help answer the problem.",
    "pony": "Given a Pony question, retrieve relevant passages that help answer the question.",
    "aops": _MATH_EXAMPLES,
    "theoremqa_questions": _MATH_EXAMPLES,
    "theoremqa_theorems": "Given a Math problem, retrieve relevant theorems that help answer the problem.",
}
_REASONEMBED_BRIGHT_LONG = {
    **{
        task: f"Given {_article(noun)} post, retrieve relevant documents that help answer the post."
        for task, noun in _POST_NAMES.items()
    },
    # Without the final period, as in the authors' evaluation.
    "pony": "Given a Pony question, retrieve relevant documents that help answer the question",
}
_EXAM = "Given a Medical Exam, retrieve relevant passages that help answer the exam."
_DIAGNOSE = "Given a Clinical Case, retrieve similar cases that help diagnose the case."
_REASONEMBED_R2MED = {  # paper.md 4 [REPO]
    "biology": "Given a Biology post, retrieve relevant passages that help answer the post.",
    "bioinformatics": "Given a Bioinformatics post, retrieve relevant passages that help answer the post.",
    "medical_sciences": "Given a Medical Science post, retrieve relevant passages that help answer the post.",
    "medxpertqa_exam": _EXAM,
    "medqa_diag": _EXAM,
    "pmc_treatment": "Given a Clinical Case, retrieve relevant passages that help answer the case.",
    "pmc_clinical": _DIAGNOSE,
    "iiyi_clinical": _DIAGNOSE,
}

# Protocol `bright`: xlang-ai/BRIGHT @ d99e839, configs/{e5,sf,qwen,qwen2}/*.json, the part between "Instruct:
# " and
# "\nQuery: "; `{task}` is filled with the task's own name (retrievers.py, add_instruct_concatenate), no
# article, no period.
_BRIGHT_MATH = "Given a Math problem, retrieve relevant examples that help answer the problem"
_BRIGHT = {
    **{task: f"Given a {task} post, retrieve relevant passages that help answer the post" for task in _POST_NAMES},
    "leetcode": "Given a coding problem, retrieve relevant examples that help answer the problem",
    "pony": "Given a pony question, retrieve relevant passages that help answer the question",
    "aops": _BRIGHT_MATH,
    "theoremqa_questions": _BRIGHT_MATH,
    "theoremqa_theorems": "Given a Math problem, retrieve relevant theorems that help answer the problem",
}
_BRIGHT_LONG = {
    **{task: f"Given a {task} post, retrieve relevant documents that help answer the post" for task in _POST_NAMES},
    "pony": "Given a pony question, retrieve relevant documents that help answer the question",
}

# Protocol `mteb`: BRIGHT v1.1, embeddings-benchmark/mteb @ a905523,
# tasks/retrieval/eng/bright_v1_1_retrieval.py; its long tasks keep the word "passages". mteb gives R2MED no
# prompt (r2_med_retrieval.py).
_MTEB_BRIGHT = {
    **{task: f"Represent this {task} post for searching relevant passages: " for task in _POST_NAMES},
    "leetcode": "Represent this Coding problem for searching relevant examples: ",
    "pony": "Represent this Pony question for searching relevant passages: ",
    "aops": "Represent this Math problem for searching relevant examples: ",
    "theoremqa_questions": "Represent this Math problem for searching relevant examples: ",
    "theoremqa_theorems": "Represent this Math problem for searching relevant theorems: ",
}
# Local sets that ask the same of the model as a benchmark task does.
_REASONEMBED_BEIR = {"theoremqa": _REASONEMBED_BRIGHT["theoremqa_theorems"]}

_INSTRUCTIONS: dict[str, dict[str, dict[str, str]]] = {
    "reasonembed": {
        "bright": _REASONEMBED_BRIGHT,
        "bright_long": _REASONEMBED_BRIGHT_LONG,
        "r2med": _REASONEMBED_R2MED,
        "beir": _REASONEMBED_BEIR,
    },
    "bright": {"bright": _BRIGHT, "bright_long": _BRIGHT_LONG},
    "mteb": {"bright": _MTEB_BRIGHT, "bright_long": {task: _MTEB_BRIGHT[task] for task in BRIGHT_LONG_TASKS}},
}
# What a protocol says of a task it does not name: a generic instruction, or (None) whatever the model itself
# stores.
_FALLBACK: dict[str, str | None] = {"reasonembed": GENERIC_INSTRUCTION, "bright": None, "mteb": None}

PROTOCOLS = tuple(_INSTRUCTIONS)

# What is relevant in each task: the meaning of paper.md 1.4 (ReMixer's annotation; Retro* uses the same), in our own words;
# what is not BRIGHT's is ours.
_POST_MEANING = "it explains a concept or theory on which an expert would build the answer to the post"
_SOLUTION = Relevance(
    "math problem",
    "solved math problem",
    "a theorem or technique used in it also helps to solve the problem",
    "math_problems",
)
_THEOREM = Relevance(
    "math problem",
    "passage about mathematics",
    "the theorem it states can be applied to solve the problem",
    "math_theorems",
)
_BRIGHT_RELEVANCE = {
    **{task: Relevance(f"{noun} post", "passage", _POST_MEANING, "stackexchange") for task, noun in _POST_NAMES.items()},
    "leetcode": Relevance(
        "coding problem", "solved coding problem",
        "an algorithm or data structure used in it gives the idea for solving the problem", "leetcode",
    ),
    "pony": Relevance(
        "task to be programmed in Pony", "passage of the Pony documentation",
        "somebody who has never seen Pony needs the syntax it describes to write the program", "pony",
    ),
    "aops": _SOLUTION,
    "theoremqa_questions": _SOLUTION,
    "theoremqa_theorems": _THEOREM,
}  # fmt: skip
_RELEVANCE: dict[str, dict[str, Relevance]] = {
    "bright": _BRIGHT_RELEVANCE,
    "bright_long": {task: _BRIGHT_RELEVANCE[task] for task in BRIGHT_LONG_TASKS},
    "beir": {
        "theoremqa": _THEOREM,
        "bright_leetcode": _BRIGHT_RELEVANCE["leetcode"],
        "scifact": Relevance(
            "scientific claim", "abstract of a paper", "what it reports supports or refutes the claim", "claim"
        ),
    },
}
_GENERIC_RELEVANCE = Relevance(
    "question",
    "passage",
    "it holds facts, or the theory behind them, that are needed to answer the question",
    "generic",
)

_SETTINGS: dict[str, dict[str, Settings]] = {
    # paper.md 4: lengths 8192/8192 (BRIGHT) and 512/512 (R2MED), search_top_k 2000, ndcg_cut.10.
    "reasonembed": {
        "bright": Settings(depth=2000, query_max_length=8192, document_max_length=8192),
        "bright_long": Settings(
            depth=2000, query_max_length=8192, document_max_length=8192,
            note="the paper's metric for long documents is not verified: nDCG@10, as for short ones",
        ),
        "r2med": Settings(depth=2000, query_max_length=512, document_max_length=512),
        "": Settings(),  # the first 1,000 hits, as BEIR does
    },
    # xlang-ai/BRIGHT retrievers.py get_scores: the first 1,000 hits; lengths differ from model to model
    # there.
    "bright": {
        "bright_long": Settings(metric="recall@1", note="recall@1: the BRIGHT paper, from memory"),
        "": Settings(note="BRIGHT's own code sets lengths by model; here: the model's own"),
    },
    # mteb retrieves 1,000 hits; main_score ndcg_at_10, recall_at_1 for the long tasks
    # (bright_v1_1_retrieval.py).
    "mteb": {
        "bright_long": Settings(metric="recall@1"),
        "": Settings(note="the instruction fills the model's query format, as in mteb"),
    },
}  # fmt: skip


def canonical(name: str) -> str:
    """A task or benchmark name for comparing: lower case, `_` for `-` and blanks."""
    return name.strip().lower().replace("-", "_").replace(" ", "_")


def _check_protocol(protocol: str) -> str:
    if protocol not in _INSTRUCTIONS:
        raise DataError(f"protocol {protocol!r} is unknown", fix=f"one of {', '.join(PROTOCOLS)}")
    return protocol


def _split(task: str, long: bool) -> tuple[str, str]:
    benchmark, slash, name = task.partition("/")
    if not (slash and benchmark and name):
        raise DataError(f"task {task!r} is not of the form benchmark/name", fix="write it like 'bright/biology'")
    key = canonical(benchmark)
    return ("bright_long" if long and key == "bright" else key), canonical(name)


def task_names(benchmark: str, *, long: bool = False) -> tuple[str, ...]:
    """The tasks of a benchmark, spelled as its publishers spell them.

    Args:
        benchmark: `bright`, `bright-long` or `r2med`.
        long: For `bright`, the eight tasks with long documents.

    Raises:
        DataError: Another benchmark.
    """
    known = {"bright": BRIGHT_TASKS, "bright_long": BRIGHT_LONG_TASKS, "r2med": R2MED_TASKS}
    key = canonical(benchmark)
    if key not in known:
        raise DataError(f"benchmark {benchmark!r} has no task list", fix=f"one of {', '.join(known)}")
    return known["bright_long" if long and key == "bright" else key]


def resolve_task(name: str, benchmark: str, *, long: bool = False) -> str:
    """The publishers' spelling of a task name.

    Raises:
        DataError: The benchmark has no such task.
    """
    names = task_names(benchmark, long=long)
    for candidate in names:
        if canonical(candidate) == canonical(name):
            return candidate
    kind = f"{benchmark} (long documents)" if long else benchmark
    raise DataError(f"{kind} has no task {name!r}", fix=f"one of {', '.join(names)}")


def instruction_for(task: str, protocol: str = "reasonembed", *, long: bool = False) -> str | None:
    """The instruction that a protocol puts before the queries of a task.

    Args:
        task: `benchmark/name`, such as `bright/biology`.
        protocol: One of `PROTOCOLS`.
        long: BRIGHT with long documents; the same as writing `bright-long/biology`.

    Returns:
        The instruction; None where the protocol leaves it to the model.

    Raises:
        DataError: An unknown protocol, or a task not of the form `benchmark/name`.
    """
    benchmark, name = _split(task, long)
    tables = _INSTRUCTIONS[_check_protocol(protocol)]
    return tables.get(benchmark, {}).get(name, _FALLBACK[protocol])


def relevance_for(task: str | None) -> Relevance:
    """What makes a document relevant to a query of a task.

    Args:
        task: `benchmark/name`, such as `bright/biology`; None is the user's own corpus.

    Returns:
        The task's own meaning; a generic one where none is known.

    Raises:
        DataError: A task not of the form `benchmark/name`.
    """
    if task is None:
        return _GENERIC_RELEVANCE
    benchmark, name = _split(task, long=False)
    return _RELEVANCE.get(benchmark, {}).get(name, _GENERIC_RELEVANCE)


def settings_for(task: str, protocol: str = "reasonembed", *, long: bool = False) -> Settings:
    """Metric, search depth and lengths of a task under a protocol.

    Args:
        task: `benchmark/name`, such as `bright/biology`.
        protocol: One of `PROTOCOLS`.
        long: BRIGHT with long documents; the same as writing `bright-long/biology`.

    Raises:
        DataError: An unknown protocol, or a task not of the form `benchmark/name`.
    """
    benchmark, _ = _split(task, long)
    table = _SETTINGS[_check_protocol(protocol)]
    return table.get(benchmark, table[""])
