"""Whole transcripts, one a row: what sequence-to-sequence models train on."""

import os
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from torch.utils.data import Dataset

import lab.text
from lab.data.batch import Batch
from lab.data.lengths import pad_pairs
from lab.data.loader import Loader


class Transcripts(Dataset):
    """Pairs `(shifted, golden)` of whole texts: `<s> t1 ... tn` and `t1 ... tn </s>`, int64 `(n + 1,)`.

    `source` is a folder of `.npy` transcripts (each one string or a row of characters; read in the order
    of their names, never unpickled) or of `.txt` files, or the texts themselves. Texts of nothing but
    white space are left out of a folder, an empty one among texts is `<s> </s>`.

    >>> from lab.text import CharTokenizer
    >>> texts = ["AB", "B"]
    >>> transcripts = Transcripts(texts, CharTokenizer.train(texts))
    >>> shifted, golden = transcripts[0]
    >>> shifted.tolist(), golden.tolist()
    ([2, 5, 6], [5, 6, 3])
    >>> transcripts.collate_fn([transcripts[0], transcripts[1]]).targets.tolist()
    [[5, 6, 3], [6, 3, -100]]

    Raises ValueError where there is no text.
    """

    def __init__(self, source: str | os.PathLike | Iterable[str], tokenizer):
        is_path = isinstance(source, str | os.PathLike)
        self.texts = tuple(lab.text.load(source).lines if is_path else source)
        if not self.texts:
            raise ValueError("there are no transcripts: give a folder that has some, or at least one text")
        self.pad_id = tokenizer.pad_id or 0  # an imported tokenizer may have none; any id will do, unread
        self._lines = [torch.tensor(ids) for ids in tokenizer.encode_lines(self.texts)]

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """What the model reads, begun by `<s>`, and what it should say, ended by `</s>`."""
        return self._lines[index][:-1], self._lines[index][1:]

    def collate_fn(self, pairs: Sequence[tuple[Tensor, Tensor]]) -> Batch:
        """One batch of pairs, padded on the right to the longest: `pad_id` in ids, -100 in targets."""
        return pad_pairs(pairs, self.pad_id)

    def loader(self, batch_size: int, **order) -> Loader:
        """Every transcript once, in batches as wide as their longest; `order`: `shuffle` and so on, see `Loader`."""
        return Loader(lambda rows: self.collate_fn([self[i] for i in rows]), len(self), batch_size, **order)
