"""The table of known checkpoints: what their directories do not say (instruction format, lengths, attention direction).

Matched by the last part of the name, in lower case. Sources: paper.md section 4 (ReasonEmbed's evaluation scripts,
VectorSpaceLab/agentic-search 1efe855) for the ReasonEmbed rows, the model cards for the others.
"""

from __future__ import annotations

from dataclasses import dataclass

REASONEMBED_FORMAT = "Instruct: {}\nQuery: {}"
"""Query text of the paper: one space after `Query:` (evaluation scripts, `--query_instruction_format_for_retrieval`)."""

QWEN3_FORMAT = "Instruct: {}\nQuery:{}"
"""Qwen3-Embedding's and DIVER's query text: no space after `Query:` (their model cards; FlagEmbedding's model mapping)."""

WEB_SEARCH = "Given a web search query, retrieve relevant passages that answer the query"
"""Default instruction of Qwen3-Embedding's and gte-Qwen2's model cards."""


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of one checkpoint.

    Attributes:
        pooling: One of `pooling.POOLING_MODES`.
        query_format: Instruction and query, two `{}`.
        query_max_length: Tokens, special tokens included.
        document_max_length: Tokens, special tokens included.
        causal: Direction of attention; None leaves it to the architecture.
        append_eos: True where the pooled token is an EOS that some tokenizer versions forget.
        instruction: Used when the caller gives none.
        document_prompt: Text put before a document.
        eos_token: Text of the pooled token where it is not the tokenizer's EOS.
    """

    pooling: str = "last"
    query_format: str = REASONEMBED_FORMAT
    query_max_length: int = 8192
    document_max_length: int = 8192
    causal: bool | None = None
    append_eos: bool | None = True
    instruction: str | None = None
    document_prompt: str = ""
    eos_token: str | None = None


# The released tokenizers of the Qwen3 checkpoints append <|endoftext|> (id 151643), not the chat EOS: paper.md 2.3.
_REASONEMBED_QWEN3 = Known(eos_token="<|endoftext|>")
_QWEN3_EMBEDDING = Known(query_format=QWEN3_FORMAT, instruction=WEB_SEARCH, eos_token="<|endoftext|>")
_DIVER = Known(query_format=QWEN3_FORMAT, eos_token="<|endoftext|>")

KNOWN: dict[str, Known] = {
    "reason-embed-qwen3-8b-0928": _REASONEMBED_QWEN3,
    "reason-embed-qwen3-4b-0928": _REASONEMBED_QWEN3,
    "reason-embed-llama-3.1-8b-0928": Known(),
    "reason-embed-basic-qwen3-8b-0928": _REASONEMBED_QWEN3,
    "reason-embed-basic-qwen3-4b-0928": _REASONEMBED_QWEN3,
    "reason-embed-basic-llama-3.1-8b-0928": Known(),
    "bge-reasoner-embed-qwen3-8b-0923": _REASONEMBED_QWEN3,
    "qwen3-embedding-0.6b": _QWEN3_EMBEDDING,
    "qwen3-embedding-4b": _QWEN3_EMBEDDING,
    "qwen3-embedding-8b": _QWEN3_EMBEDDING,
    "diver-retriever-0.6b": _DIVER,
    "diver-retriever-1.7b": _DIVER,
    "diver-retriever-4b": _DIVER,
    "diver-retriever-4b-1020": _DIVER,
    # Bidirectional, mean pooled (arXiv:2504.20595); its own modelling code, so trust_remote_code is needed.
    "reasonir-8b": Known(
        pooling="mean",
        query_format="<|user|>\n{}\n<|embed|>\n{}",
        causal=False,
        append_eos=None,
        document_prompt="<|embed|>\n",
    ),
    "gte-qwen2-1.5b-instruct": Known(causal=False, instruction=WEB_SEARCH, eos_token="<|endoftext|>"),
    "gte-qwen2-7b-instruct": Known(causal=False, instruction=WEB_SEARCH, eos_token="<|endoftext|>"),
    "e5-mistral-7b-instruct": Known(query_max_length=4096, document_max_length=4096),
}


def find_known(name: str) -> Known | None:
    """The row of a checkpoint, by the last part of its name or path; None where it is not in the table."""
    return KNOWN.get(name.rstrip("/").rsplit("/", 1)[-1].lower())
