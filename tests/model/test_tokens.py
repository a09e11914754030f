from __future__ import annotations

import json

import pytest

from reasonembed.errors import ModelError
from reasonembed.model.checkpoint import open_checkpoint
from reasonembed.model.tokens import open_tokenizer


def opened(folder, **told):
    return open_tokenizer(open_checkpoint(folder, **told))


def test_ids_are_the_peer_tokenizers(tiny):
    from transformers import AutoTokenizer

    for kind in ("qwen3", "bert"):
        peer, ours = AutoTokenizer.from_pretrained(tiny(kind)), opened(tiny(kind))
        for text in ("the theorem", "", "  two  blanks ", "東京 🙂", "long " * 300):
            (ids,), _ = ours.encode([text], max_length=64)
            assert ids.tolist() == peer(text, truncation=True, max_length=64)["input_ids"]


def test_plain_decoder_without_eos_is_refused(tmp_path):
    from tiny import build

    folder = build(tmp_path / "m", "qwen3", eos=False)
    with pytest.raises(ModelError, match=r"appends no EOS .* append_eos=True"):
        opened(folder)


def test_eos_is_repaired_where_the_checkpoint_wants_it(tmp_path):
    from tiny import build

    folder = build(tmp_path / "m", "qwen3", eos=False, add_eos_token=True)
    tokenizer = opened(folder)
    (short, long), n_cut = tokenizer.encode(["a", "a " * 200], max_length=20)
    assert (short[-1], long[-1], len(long), n_cut) == (0, 0, 20, 1)
    assert tokenizer.pooled_token == "<|endoftext|>"


@pytest.mark.parametrize(("told", "config", "suffix"), [
    ({"append_eos": True}, {}, (0,)),
    ({"append_eos": False}, {}, ()),
    ({}, {"add_eos_token": False}, ()),
])  # fmt: skip
def test_what_is_said_of_eos_holds(tmp_path, told, config, suffix):
    from tiny import build

    assert opened(build(tmp_path / "m", "qwen3", eos=False, **config), **told).suffix == suffix


def test_eos_is_not_doubled(tmp_path):
    from tiny import build

    assert opened(build(tmp_path / "m", "qwen3", eos=True, add_eos_token=True), append_eos=True).suffix == (0,)


def test_known_checkpoint_gets_its_eos(tmp_path):
    from tiny import build

    folder = build(tmp_path / "reason-embed-qwen3-8b-0928", "qwen3", eos=False, eos_token="<|pad|>")
    assert opened(folder).pooled_token == "<|endoftext|>"  # the table's, not the chat EOS of the tokenizer's config


def test_sentence_transformers_directory_without_eos_is_taken_at_its_word(tmp_path):
    from tiny import build

    folder = build(tmp_path / "m", "qwen3", eos=False)
    modules = [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
               {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}]  # fmt: skip
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(
        '{"word_embedding_dimension": 32, "pooling_mode_lasttoken": true}'
    )
    assert opened(folder).suffix == ()


def test_no_room_beside_special_tokens(tiny_qwen3):
    with pytest.raises(ModelError, match="max_length 1 leaves no room beside 1 special tokens"):
        opened(tiny_qwen3).encode(["a"], max_length=1)


def test_empty_text_without_special_tokens_is_refused(tmp_path):
    from tiny import build

    tokenizer = opened(build(tmp_path / "m", "qwen3", eos=False), append_eos=False)
    with pytest.raises(ModelError, match="an empty text has no tokens"):
        tokenizer.encode([""], max_length=8)


def test_broken_tokenizer_names_the_file(tmp_path):
    from tiny import build

    folder = build(tmp_path / "m", "bert")
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(ModelError, match=r"tokenizer\.json: cannot be read"):
        opened(folder)
