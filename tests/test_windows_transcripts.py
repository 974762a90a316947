import pytest
import torch
from torch.utils.data import DataLoader

from lab.data import Transcripts
from lab.data.batch import IGNORE
from lab.nn.transformer import DecoderOnlyTransformer, TransformerConfig
from lab.score import score_lines
from lab.text import BPETokenizer, CharTokenizer
from lab.train import next_token_loss

TEXTS = ["THE CAT", "A", "SAT DOWN"]
TOKENIZER = CharTokenizer.train(TEXTS)


def test_a_batch_is_as_wide_as_its_longest():
    transcripts = Transcripts(TEXTS, TOKENIZER)
    loader = DataLoader(transcripts, 3, collate_fn=transcripts.collate_fn, num_workers=1)
    [batch] = loader
    [same] = transcripts.loader(3)
    assert torch.equal(batch.ids, same.ids) and torch.equal(batch.targets, same.targets)
    assert batch.ids.shape == (3, 9)
    assert (batch.targets != IGNORE).sum(1).tolist() == [8, 2, 9]
    assert batch.ids[1].tolist() == [2, TOKENIZER.encode("A")[0], 0, 0, 0, 0, 0, 0, 0]


def test_the_counts_and_the_loss_are_those_of_an_honest_score():
    tokenizer = BPETokenizer.train(["THE CAT SAT DOWN THE CAT"], 264)
    torch.manual_seed(0)
    config = TransformerConfig(tokenizer.vocab_size, 16, width=16, num_heads=2, feed_forward=32)
    model = DecoderOnlyTransformer(config)
    torch.nn.init.normal_(model.output.weight)
    transcripts = Transcripts(TEXTS, tokenizer)
    score = score_lines(model, tokenizer, TEXTS)
    with torch.no_grad():
        nats = sum(next_token_loss(model, batch)[0].item() for batch in transcripts.loader(2))
    assert sum(batch.num_targets for batch in transcripts.loader(2)) == score.tokens
    assert nats == pytest.approx(score.nats, rel=1e-5)


def test_no_transcripts_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no transcripts"):
        Transcripts([], TOKENIZER)
    with pytest.raises(ValueError, match=r"0 \.npy files"):
        Transcripts(tmp_path, TOKENIZER)
