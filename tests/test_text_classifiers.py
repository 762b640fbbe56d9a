"""Classifiers of texts: scores are those that transformers gives, with no image there; what is wrong is a sentence."""

from __future__ import annotations

import json
import math
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner
from tiny_models import TEXTS

from align_data.cli import main
from align_data.common.errors import InputError
from align_data.models.opening import open_model

tokens = pytest.importorskip("align_data.train.tokens", reason="needs the extra models")
torch = pytest.importorskip("torch", reason="needs the extra models")
transformers = pytest.importorskip("transformers", reason="needs the extra models")

LABELS = ("toxicity", "insult", "threat")
SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
ROWS = [*TEXTS[:6], "", TEXTS[0] + " again", "é ☕ 日本 " * 20]


def save(folder: Path, kind: str, problem: str | None = "multi_label_classification") -> Path:
    """Write a classifier of random weights as the library does, with what Detoxify's folders have beside it."""
    torch.manual_seed(3)
    config = {"vocab_size": 200, "max_position_embeddings": 40, "pad_token_id": 0, "problem_type": problem}
    names = {"id2label": dict(enumerate(LABELS)), "label2id": {label: n for n, label in enumerate(LABELS)}}
    made = {"bert": "Bert", "xlm-roberta": "XLMRoberta"}[kind]
    settings = getattr(transformers, f"{made}Config")(**SIZES, **config, **names)
    model = getattr(transformers, f"{made}ForSequenceClassification")(settings).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(folder)
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokens.learn(TEXTS[:4], 200), pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]",
        sep_token="[SEP]", model_max_length=64,
        model_input_names=["input_ids", "attention_mask"] + ["token_type_ids"] * (kind == "bert"),
    ).save_pretrained(folder)  # fmt: skip
    return folder


def by_the_library(folder: Path, text: str, most: int) -> list[float]:
    """The logits of one text, by the library's own classes and without any padding."""
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    with torch.inference_mode():
        return list(model(**tokenizer(text, return_tensors="pt", truncation=True, max_length=most)).logits[0].tolist())


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    lines = [json.dumps({"url": f"http://a.example/{n}", "alt_text": text}) for n, text in enumerate(ROWS)]
    (tmp_path / "list.jsonl").write_text("\n".join(lines) + "\n")
    run("ingest", tmp_path / "list.jsonl", "--out", tmp_path / "pool")
    return tmp_path / "pool"


def run(*arguments: Any, code: int = 0) -> str:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return " ".join(result.output.split())


def scores(pool: Path, name: str) -> dict[str, float]:
    pairs = pl.read_parquet(next((pool / "pairs").glob("*.parquet")), columns=["alt_text"])
    column = pl.read_parquet(next((pool / "measured" / f"head.{name}").glob("*.parquet")))
    return dict(zip(pairs["alt_text"], column[f"head_{name}"], strict=True))


@pytest.mark.parametrize(("kind", "most"), [("bert", 40), ("xlm-roberta", 38)])
def test_the_score_is_the_greatest_probability_of_a_label(tmp_path: Path, pool: Path, kind: str, most: int) -> None:
    folder = save(tmp_path / kind, kind)
    assert "head_tox: 9 of 9 pairs have a score" in run("score", folder, pool, "--as", "tox")
    run("score", folder, pool, "--as", "rude", "--label", "insult,threat")
    for text, greatest in scores(pool, "tox").items():
        each = [1 / (1 + math.exp(-logit)) for logit in by_the_library(folder, text, most)]
        assert greatest == pytest.approx(max(each), abs=2e-6)
        assert scores(pool, "rude")[text] == pytest.approx(max(each[1:]), abs=2e-6)
    assert len({*scores(pool, "tox").values()}) > 5


def test_of_one_label_a_text_the_user_says_which_counts(tmp_path: Path, pool: Path) -> None:
    folder = save(tmp_path / "one", "bert", "single_label_classification")
    refused = run("score", folder, pool, "--as", "tox", code=1)
    assert "gives each text one of the labels toxicity, insult, threat: name those that count with --label" in refused
    run("score", folder, pool, "--as", "tox", "--label", "threat")
    for text, score in scores(pool, "tox").items():
        odds = np.exp(by_the_library(folder, text, 40))
        assert score == pytest.approx(odds[2] / odds.sum(), abs=2e-6)


def test_scores_stay_until_weights_or_labels_are_others(tmp_path: Path, pool: Path) -> None:
    folder = save(tmp_path / "bert", "bert")
    run("score", folder, pool, "--as", "tox")
    assert "(all scored before)" in run("score", folder, pool, "--as", "tox")
    rules = "- {signal: head_tox, le: 1}\n- {signal: n_words, ge: 0}\n"
    (tmp_path / "calm.yaml").write_text(f"name: calm\nrules:\n{rules}")
    run("measure", pool)
    assert "9 kept" in run("filter", pool, "--recipe", tmp_path / "calm.yaml")
    assert "(all scored before)" not in run("score", folder, pool, "--as", "tox", "--label", "insult")
    assert "(all scored before)" in run("score", folder, pool, "--as", "tox", "--label", "insult")
    shutil.rmtree(folder)
    save(folder, "xlm-roberta")
    assert "(all scored before)" not in run("score", folder, pool, "--as", "tox", "--label", "insult")


def test_what_is_wrong_is_a_sentence(tmp_path: Path, pool: Path) -> None:
    folder = save(tmp_path / "bert", "bert")
    assert "Missing option '--as'" in run("score", folder, pool, code=2)
    assert "--head goes with embeddings" in run("score", folder, pool, "--as", "a", "--head", "x.npz", code=2)
    assert "has no label insullt (did you mean insult?); it has: toxicity, insult, threat" in run("score", folder, pool, "--as", "a", "--label", "insullt", code=1)  # fmt: skip
    assert "--label goes with a classifier of texts" in run("score", tmp_path, pool, "--as", "a", "--label", "b", code=2)  # fmt: skip
    with pytest.raises(InputError, match="a model of the type bert; known are: clip"):
        open_model(str(folder))
    config = json.loads((folder / "config.json").read_text())
    for change, sentence in (
        ({"model_type": "gpt2"}, "a classifier of the type gpt2; known are: albert, bert"),
        ({"max_position_embeddings": "many"}, "max_position_embeddings takes a number above 3"),
        ({"hidden_size": 64}, "weights are missing or of another shape"),
    ):
        (folder / "config.json").write_text(json.dumps(config | change))
        assert sentence in run("score", folder, pool, "--as", "a", code=1)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes(b"no weights" * 9999)
    assert "cannot be opened as BertForSequenceClassification" in run("score", folder, pool, "--as", "a", code=1)
    (folder / "config.json").write_text("[")
    assert "is not JSON" in run("score", folder, pool, "--as", "a", code=1)


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("evil",)


def test_a_hostile_folder_is_a_sentence(tmp_path: Path, pool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = save(tmp_path / "bert", "bert")
    config = json.loads((folder / "config.json").read_text())
    (folder / "evil.py").write_text("import os\nos.mkdir('evil')\nclass Evil: pass\n")
    code = {"AutoModelForSequenceClassification": "evil.Evil", "AutoConfig": "evil.Evil"}
    (folder / "config.json").write_text(json.dumps(config | {"auto_map": code}))
    run("score", folder, pool, "--as", "tox")
    for change in ({"vocab_size": 2**30}, {"num_hidden_layers": 10**6}, {"hidden_size": 2**20}):
        (folder / "config.json").write_text(json.dumps(config | change))
        assert "config.json" in run("score", folder, pool, "--as", "tox", code=1)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").unlink()
    torch.save({"bert.embeddings.word_embeddings.weight": Evil()}, folder / "pytorch_model.bin")
    with (folder / "pytorch_model.bin").open("ab") as file:
        file.write(bytes(2**20))  # as large as its config says
    assert "cannot be opened as BertForSequenceClassification" in run("score", folder, pool, "--as", "tox", code=1)
    assert not (tmp_path / "evil").exists()
