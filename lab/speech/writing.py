"""Transcripts by attention: the decoder, which writes token after token while it looks at what was heard.

Letters: B texts tried at once, U tokens of a text, S frames, V tokens there are.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from lab.data import IGNORE, pad
from lab.decode.search import BeamSearch, Sampling, generate
from lab.nn.cache import KeyValueCache
from lab.speech.model import Heard, SpeechTransformer
from lab.text import Tokenizer


class Writer(nn.Module):
    """The decoder together with what it has heard: a language model, with which `lab.decode` can write.

    `heard` is one utterance; however many texts are tried at once, all are of it.
    """

    def __init__(self, model: SpeechTransformer, heard: Heard):
        super().__init__()
        self.model, self.heard, self.config = model, heard, model.config.decoder
        self.training = model.training

    def forward(
        self, ids: Tensor, *, mask=None, positions=None, cache: KeyValueCache | None = None
    ) -> Tensor:
        """ids `(B, U)` -> logits `(B, U, V)`."""
        rows = Heard(*(part.expand(len(ids), *part.shape[1:]) for part in self.heard))
        return self.model.decode(ids, rows, cache=cache)

    def new_cache(self, batch: int, device: torch.device | str = "cpu") -> KeyValueCache:
        """An empty cache for `batch` texts."""
        return self.model.new_cache(batch, device)


def write(model: SpeechTransformer, heard: Heard, tokenizer: Tokenizer, beam: int = 1) -> list[int]:
    """What the decoder writes of one utterance, by `lab.decode`: greedily, or with a beam.

    It ends at `</s>`, at the model's context, or after as many tokens as there are frames: more cannot have been said.
    """
    longest = min(model.config.context - 1, int(heard.lengths[0]))
    strategy = BeamSearch(width=beam) if beam > 1 else Sampling(temperature=0)
    drawn = generate(
        Writer(model, heard),
        [tokenizer.bos_id],
        strategy,
        max_new_tokens=longest,
        stop_id=tokenizer.eos_id,
        num_alternatives=0,
    )
    return [step.token for step in drawn if step.token != tokenizer.eos_id]


@torch.no_grad()
def attention_log_probs(
    model: SpeechTransformer, heard: Heard, tokenizer: Tokenizer, texts: Sequence[Sequence[int]]
) -> list[float]:
    """log P(text, `</s>` | audio) of each text by the decoder, all in one batch.

    Of a text that does not fit in the decoder's context it is -inf.
    """
    U = min(max(map(len, texts)) + 1, model.config.decoder.context)
    ids = pad([[tokenizer.bos_id, *text][:U] for text in texts], tokenizer.pad_id or 0)
    golden = pad([[*text, tokenizer.eos_id][:U] for text in texts], IGNORE)
    logits = Writer(model, heard)(ids.to(heard.memory.device)).double().cpu()
    nats = nnf.cross_entropy(logits.transpose(1, 2), golden, ignore_index=IGNORE, reduction="none").sum(1)
    return [-math.inf if len(text) >= U else -found for text, found in zip(texts, nats.tolist(), strict=True)]
