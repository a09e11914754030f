"""Instructions and settings by protocol, against FlagEmbedding's table and the other two sources."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from reasonembed import protocols
from reasonembed.errors import DataError
from reasonembed.protocols import instruction_for, resolve_task, settings_for, task_names


def _flag_prompts():
    """FlagEmbedding's prompts.py, loaded alone: importing the package would import torch and faiss."""
    found = [Path(entry) / "FlagEmbedding/evaluation/bright/prompts.py" for entry in sys.path]
    path = next((path for path in found if path.is_file()), None)
    if path is None:
        pytest.skip("FlagEmbedding is not installed")
    spec = importlib.util.spec_from_file_location("flag_bright_prompts", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_bright_instructions_are_those_of_flagembedding():
    theirs = _flag_prompts()
    assert {
        task: instruction_for(f"bright/{task}") for task in protocols.BRIGHT_TASKS
    } == theirs.BrightShortInstructions
    long = {task: instruction_for(f"bright/{task}", long=True) for task in protocols.BRIGHT_LONG_TASKS}
    assert long == theirs.BrightLongInstructions


@pytest.mark.parametrize(
    ("task", "instruction"),
    [
        (
            "r2med/Medical-Sciences",
            "Given a Medical Science post, retrieve relevant passages that help answer the post.",
        ),
        ("r2med/MedQA-Diag", "Given a Medical Exam, retrieve relevant passages that help answer the exam."),
        (
            "r2med/PMC-Treatment",
            "Given a Clinical Case, retrieve relevant passages that help answer the case.",
        ),
        ("r2med/IIYi-Clinical", "Given a Clinical Case, retrieve similar cases that help diagnose the case."),
    ],
)
def test_r2med_instructions_are_those_of_the_paper(task, instruction):
    assert instruction_for(task) == instruction


@pytest.mark.parametrize("task", [f"r2med/{name}" for name in protocols.R2MED_TASKS])
def test_every_r2med_task_has_its_own_instruction(task):
    assert instruction_for(task) not in (None, protocols.GENERIC_INSTRUCTION)


def test_bright_and_mteb_have_their_own_words():
    assert instruction_for("bright/earth_science", "bright") == (
        "Given a earth_science post, retrieve relevant passages that help answer the post"
    )
    assert instruction_for("bright/pony", "bright", long=True) == (
        "Given a pony question, retrieve relevant documents that help answer the question"
    )
    assert instruction_for("bright/stackoverflow", "mteb") == (
        "Represent this stackoverflow post for searching relevant passages: "
    )
    # mteb's long tasks say "passages" too
    assert "passages" in instruction_for("bright-long/pony", "mteb")


@pytest.mark.parametrize("spelling", ["bright/earth-science", "BRIGHT/Earth Science", "bright/EARTH_SCIENCE"])
def test_names_may_be_spelled_in_any_way(spelling):
    assert instruction_for(spelling) == instruction_for("bright/earth_science")


def test_long_is_a_benchmark_name_or_a_flag():
    assert instruction_for("bright-long/biology") == instruction_for("bright/biology", long=True)
    assert settings_for("bright-long/biology", "mteb").metric == "recall@1"


def test_unknown_tasks_get_a_generic_instruction_or_the_models_own():
    assert instruction_for("beir/fever") == protocols.GENERIC_INSTRUCTION
    assert instruction_for("beir/fever", "mteb") is None
    assert instruction_for("r2med/Biology", "mteb") is None


def test_settings_of_the_paper():
    bright, r2med = settings_for("bright/aops"), settings_for("r2med/Biology")
    assert (bright.metric, bright.depth, bright.query_max_length, bright.document_max_length) == (
        "ndcg@10",
        2000,
        8192,
        8192,
    )
    assert (r2med.depth, r2med.query_max_length, r2med.document_max_length) == (2000, 512, 512)
    assert settings_for("beir/scifact").document_max_length is None


def test_task_lists():
    assert len(task_names("bright")) == 12
    assert len(task_names("bright", long=True)) == 8
    assert len(task_names("r2med")) == 8
    assert resolve_task("medical_sciences", "r2med") == "Medical-Sciences"


def test_bad_names_are_refused_with_the_choice():
    with pytest.raises(DataError, match=r"leetcode.*one of biology"):
        resolve_task("leetcode", "bright", long=True)
    with pytest.raises(DataError, match=r"protocol 'beir' is unknown.*reasonembed, bright, mteb"):
        instruction_for("bright/pony", "beir")
    with pytest.raises(DataError, match="benchmark/name"):
        settings_for("pony")
    with pytest.raises(DataError, match="no task list"):
        task_names("msmarco")
