"""How good is a first model after a minute? KJV, BPE-1000, the settings of notebook 00, by the clock.

Writes benchmarks/results/first_model.json. `python benchmarks/first_model.py --help` lists the settings.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import tyro

import lab.text
from lab.bench import machine
from lab.data import join_lines, random_windows
from lab.files import write_atomic
from lab.nn.transformer import DecoderOnlyTransformer, TransformerConfig
from lab.score import (
    COMPRESSORS,
    compressed_bits_per_char,
    score_lines,
    unigram_bits_per_char,
)
from lab.text import BPETokenizer
from lab.train import TrainConfig, next_token_loss, train

RESULT = Path(__file__).parent / "results" / "first_model.json"


@dataclass(frozen=True)
class Settings:
    """What is trained, and for how long."""

    seconds: float = 60.0
    seeds: tuple[int, ...] = (0, 1, 2)
    vocab_size: int = 1000
    context: int = 64
    batch_size: int = 18
    threads: int = 2


def main(settings: Settings) -> None:
    torch.set_num_threads(settings.threads)
    corpus = lab.text.load("kjv")
    splits = corpus.splits(seed=0)
    tokenizer = BPETokenizer.train(splits.train, settings.vocab_size)
    stream = join_lines(tokenizer.encode_lines(splits.train))
    config = TransformerConfig(vocab_size=tokenizer.vocab_size, context=settings.context)

    def batches(seed: int):
        generator = torch.Generator().manual_seed(seed)
        return random_windows(stream, settings.context, settings.batch_size, generator)

    # The schedule needs the number of steps, so a rehearsal on a throw-away model tells how many fit.
    rehearsal = list(train(DecoderOnlyTransformer(config), batches(0), next_token_loss, TrainConfig(60)))
    warm = rehearsal[-1].seconds - rehearsal[9].seconds
    steps = int(settings.seconds * (len(rehearsal) - 10) / warm)

    runs = []
    for seed in settings.seeds:
        torch.manual_seed(seed)
        model = DecoderOnlyTransformer(config)
        *_, last = train(model, batches(seed), next_token_loss, TrainConfig(steps))
        score = score_lines(model, tokenizer, splits.test)
        runs.append(
            {
                "seed": seed,
                "seconds": last.seconds,
                "steps": steps,
                "tokens_per_second": last.tokens_per_second,
                "bits_per_char": score.bits_per_char,
            }
        )
        print(
            f"seed {seed}: {last.seconds:.1f} s, {steps} steps, {last.tokens_per_second:,.0f} tokens/s, {score}"
        )
    baselines = {"unigram": unigram_bits_per_char(splits.train, splits.test)}
    baselines |= {name: compressed_bits_per_char(name, splits.train, splits.test) for name in COMPRESSORS}
    result = {
        "machine": machine(),
        "settings": asdict(settings),
        "parameters": model.num_parameters,
        "corpus": {"name": corpus.name, "sha256": corpus.sha256},
        "runs": runs,
        "baselines_bits_per_char": baselines,
    }
    write_atomic(RESULT, json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
