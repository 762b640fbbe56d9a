"""lid.176.ftz applied to a column of texts at once: the library takes one at a time, and holds the interpreter.

The arithmetic is the library's, in its order and precision, so that labels and scores are the same to the last bit.
What it reads otherwise than as words between single spaces, and what rounding cannot tell, is left to the library.
"""

from __future__ import annotations

import struct
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

UNCLEAR = -1
"""Where a label's number would be, for a text that is left to the library."""
CHUNK = 2**21
"""Bytes of text that are looked at together: each word of them is looked up once."""
BATCH = 2**11
"""Texts whose labels are looked for together, so that what is computed of them stays in the processor's cache."""
LONG = 2**12
"""Bytes of the longest text that is not left to the library."""
_NOT_WORDS = r"[\x00-\x1f]|^ | $|  |__label__|</s>"
_NEAR = np.float32(0.999)
"""A label whose probability is this share of the best one's might be the best."""
_HUGE = np.float32(80)
"""An exponent beyond which more makes no difference, and overflows."""
_BASIS, _PRIME = np.uint32(2166136261), np.uint32(16777619)  # of FNV-1a
_NO_ROW = np.uint16(2**16 - 1)

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]


class _Fields:
    """The fields of fastText's file, one after the other."""

    def __init__(self, content: bytes) -> None:
        self._content, self._at = content, 0

    def read(self, form: str) -> tuple[Any, ...]:
        """Read as struct.unpack does."""
        fields = struct.unpack_from("<" + form, self._content, self._at)
        self._at += struct.calcsize("<" + form)
        return fields

    def array(self, kind: str, *shape: int) -> NDArray[Any]:
        """Read an array of this shape."""
        flat = np.frombuffer(self._content, kind, int(np.prod(shape)), self._at)
        self._at += flat.nbytes
        return flat.reshape(shape)

    def word(self) -> tuple[str, int]:
        """Read a word and how often it occurred."""
        end = self._content.index(b"\0", self._at)
        word = self._content[self._at : end].decode()
        self._at = end + 1
        return word, self.read("qb")[0]

    def centroids(self) -> Floats:
        """Read the centroids of a product quantizer: by part of the vector and by code."""
        _, parts, width, _ = self.read("4i")
        return self.array("<f4", parts, 256, width)


class LanguageModel:
    """The model: rows of vectors for words and for hashed n-grams of 2 to 4 characters, and a tree of labels."""

    def __init__(self, path: Path) -> None:
        file = _Fields(path.read_bytes())
        settings = file.read("14id")
        _, n_words, n_labels, _, n_buckets = file.read("3i2q")
        words = [file.word()[0] for _ in range(n_words)]
        labels, counts = zip(*(file.word() for _ in range(n_labels)), strict=True)
        buckets = file.array("<i4", n_buckets, 2)
        _, _, n_rows, dimensions, _ = file.read("2b2qi")
        codes = file.array("u1", n_rows, dimensions // 2)
        parts = [centroids[codes[:, part]] for part, centroids in enumerate(file.centroids())]
        norm_codes = file.array("u1", n_rows)
        self._vectors: Floats = np.concatenate(parts, axis=1) * file.centroids()[0, norm_codes]
        file.read("b2q")
        self._nodes: Floats = file.array("<f4", n_labels, dimensions)[:-1]
        self._bucket = np.uint32(settings[10])
        self._row_of: NDArray[np.uint16] = np.full(self._bucket, _NO_ROW)
        self._row_of[buckets[:, 0]] = n_words + buckets[:, 1]
        self._words = pl.Enum(words)
        self.labels = [label.removeprefix("__label__") for label in labels]
        self._children = _huffman(list(counts))
        self._paths, self._turns = _paths(self._children)

    def predict(self, texts: pl.Series) -> tuple[NDArray[np.int64], Floats]:
        """Return the number of each text's best label, or UNCLEAR, and its probability."""
        labels, scores = np.full(len(texts), UNCLEAR), np.zeros(len(texts), np.float32)
        plain = ~texts.str.contains(_NOT_WORDS) & texts.str.len_bytes().is_between(1, LONG)
        place, texts = np.flatnonzero(plain), texts.filter(plain)
        ends = texts.str.len_bytes().cum_sum().to_numpy()
        cuts = np.searchsorted(ends, np.arange(0, ends[-1:].sum() + CHUNK, CHUNK))
        for start, stop in pairwise(np.unique(cuts).tolist()):
            hidden = self._hidden(texts[start:stop])
            for begin in range(start, stop, BATCH):
                batch = place[begin : min(stop, begin + BATCH)]
                vectors = hidden[begin - start : begin - start + len(batch)].T.copy()
                best = self._best(vectors)
                scores[batch], unsure = self._scores(vectors, best)
                labels[batch] = np.where(unsure, UNCLEAR, best)
        return labels, scores

    def _hidden(self, texts: pl.Series) -> Floats:
        """Return the mean of the vectors of each text's words, their n-grams and the line's end.

        A text's vectors are added one after the other: in another order the last bit would differ.
        """
        lists = texts.str.split(" ")
        words = lists.explode().to_arrow().dictionary_encode()
        rows, rows_of_word = self._rows(pl.Series(words.dictionary))
        word = np.frombuffer(words.indices.buffers()[1], np.int32)  # to_numpy() would load pandas where there is one
        counts = rows_of_word[word]
        ends = np.cumsum(counts)
        rows = rows[np.repeat(np.cumsum(rows_of_word)[word] - ends, counts) + np.arange(ends[-1])]
        ends = ends[np.cumsum(lists.list.len().to_numpy()) - 1]
        lengths = np.diff(ends, prepend=0)
        order = np.argsort(-lengths, kind="stable")
        begins, descending = (ends - lengths)[order], -lengths[order]
        sums: Floats = np.zeros((len(texts), self._vectors.shape[1]), np.float32)
        for step in range(-descending[0]):
            longer = int(np.searchsorted(descending, -step))
            sums[:longer] += self._vectors[rows[begins[:longer] + step]]
        sums = sums[np.argsort(order)]
        sums += self._vectors[0]  # the line's end is the first of the model's words
        sums *= (1.0 / (lengths + 1)).astype(np.float32)[:, None]
        return sums

    def _rows(self, words: pl.Series) -> tuple[NDArray[np.uint16], NDArray[np.int64]]:
        """Return the rows of words and their n-grams, one word's behind another's, and how many each has."""
        framed = ("<" + words + "> ").to_arrow(compat_level=pl.CompatLevel.oldest())
        _, offsets, content = framed.buffers()
        letters = np.frombuffer(content, np.uint8, np.frombuffer(offsets, np.int64)[len(words)])
        starts = np.flatnonzero((letters & 0xC0) != 0x80)
        ends = np.flatnonzero(letters[starts] == ord(" "))
        rows = np.full((len(starts), 4), _NO_ROW)
        begins = np.concatenate([[0], ends[:-1] + 1])
        rows[begins, 0] = words.cast(self._words, strict=False).to_physical().fill_null(int(_NO_ROW)).to_numpy()
        rows[:, 1:] = self._ngrams(letters, starts)
        used = np.flatnonzero(rows != _NO_ROW)
        word = np.searchsorted(ends, used // 4)
        used = used[used // 4 + used % 4 < ends[word]]  # the others reach into the next word
        return rows.ravel()[used], np.diff(np.searchsorted(used, 4 * ends), prepend=0)

    def _ngrams(self, letters: NDArray[np.uint8], starts: NDArray[np.int64]) -> NDArray[np.uint16]:
        """Return the rows of the n-grams of two, three and four characters that begin at each character."""
        signed = letters.view(np.int8).astype(np.int32).view(np.uint32)
        leading, width = signed[starts], np.diff(starts, append=len(letters))
        following = [(at, signed[starts[at] + byte]) for byte in (1, 2, 3) if len(at := np.flatnonzero(width > byte))]
        key = np.full(len(starts), _BASIS)
        rows = np.full((len(starts), 3), _NO_ROW)
        for step in range(4):
            many = len(starts) - step
            key = (key[:many] ^ leading[step:]) * _PRIME
            for at, byte in following:
                first = int(np.searchsorted(at, step))
                begin = at[first:] - step
                key[begin] = (key[begin] ^ byte[first:]) * _PRIME
            if step:
                rows[:many, step - 1] = self._row_of[key - key // self._bucket * self._bucket]
        return rows

    def _best(self, vectors: Floats) -> NDArray[np.int64]:
        """Return each text's best label, UNCLEAR where another is as good but for rounding."""
        products = np.einsum("nd,dt->nt", self._nodes, vectors)  # not by @, which would start threads for so little
        right = 1 / (1 + np.exp(np.minimum(-products, _HUGE))) + np.float32(1e-5)
        left = np.float32(1 + 2e-5) - right
        n_labels = len(self.labels)
        chance = np.ones((len(self._children), vectors.shape[1]), np.float32)
        for node in range(len(self._children) - 1, n_labels - 1, -1):
            low, high = self._children[node]
            np.multiply(chance[node], left[node - n_labels], out=chance[low])
            np.multiply(chance[node], right[node - n_labels], out=chance[high])
        leaves = chance[:n_labels]
        near = (leaves >= leaves.max(axis=0) * _NEAR).view(np.uint8)
        label = (near * np.arange(n_labels, dtype=np.uint8)[:, None]).max(axis=0)
        return np.where(near.sum(axis=0, dtype=np.uint8) == 1, label.astype(np.int64), UNCLEAR)

    def _scores(self, vectors: Floats, labels: NDArray[np.int64]) -> tuple[Floats, Mask]:
        """Return the probability of each text's label, and where its last bit is unsure."""
        score, unsure = np.zeros(len(labels), np.float32), np.zeros(len(labels), bool)
        for node_of, turn_of in zip(self._paths.T, self._turns.T, strict=True):
            at = np.flatnonzero(node_of[labels] >= 0)
            node = node_of[labels[at]]
            products = np.zeros(len(at), np.float32)
            for weights, column in zip(self._nodes.T, vectors, strict=True):
                products += weights[node] * column[at]
            growth, near_half = _exp(np.minimum(-products, _HUGE))
            unsure[at] |= near_half
            right = 1 / (1 + growth)
            chance = np.where(turn_of[labels[at]], right, 1 - right)
            score[at] += np.log(chance.astype(np.float64) + 1e-5).astype(np.float32)
        probability, near_half = _exp(score)
        return probability, unsure | near_half


def _exp(exponents: Floats) -> tuple[Floats, Mask]:
    """Return exponentials, and where they lie halfway between two numbers: C's expf is right to 0.502 of a bit."""
    exact = np.exp(exponents.astype(np.float64))
    rounded = exact.astype(np.float32)
    return rounded, np.abs(exact - rounded) > 0.497 * np.spacing(rounded)


def _huffman(weights: list[int]) -> list[tuple[int, int]]:
    """Return the children of each node of the tree over labels of falling weight: the leaves, then the others."""
    leaf = len(weights) - 1
    node = n_labels = len(weights)
    children = [(-1, -1)] * n_labels
    for _ in range(n_labels - 1):
        pair = []
        for _ in range(2):
            if leaf >= 0 and (node == len(weights) or weights[leaf] < weights[node]):
                pair.append(leaf)
                leaf -= 1
            else:
                pair.append(node)
                node += 1
        weights.append(weights[pair[0]] + weights[pair[1]])
        children.append((pair[0], pair[1]))
    return children


def _paths(children: list[tuple[int, int]]) -> tuple[NDArray[np.int64], Mask]:
    """Return for each label the nodes from the root on, -1 behind the last, and whether the way turns right there."""
    n_labels = (len(children) + 1) // 2
    paths: dict[int, list[tuple[int, int]]] = {len(children) - 1: []}
    for node in range(len(children) - 1, n_labels - 1, -1):
        for turn, child in enumerate(children[node]):
            paths[child] = [*paths.get(node, []), (node - n_labels, turn)]
    depth = max(map(len, paths.values()))
    padded = np.array([paths[label] + [(-1, 0)] * (depth - len(paths[label])) for label in range(n_labels)])
    return padded[:, :, 0], padded[:, :, 1] == 1
