"""Did a change of form change a number? Records to the bit what the package computes, and compares two records.

    python benchmarks/frozen.py before.json                            before the change, half a minute
    python benchmarks/frozen.py after.json --against before.json       tells what differs; exit code 1 if anything
    python benchmarks/frozen.py after.json --only decoding scores

Numbers are kept as they are where they are few, else as a fingerprint of their bytes; names of weights do not count.
One thread, fixed seeds. Two processors need not agree, nor two versions of torch: record both on one machine.
"""

import argparse
import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, is_dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lab import runs
from lab.chars import CharacterObjectives, CharEncoderConfig, Weights, memory_effect, write_greedily
from lab.chars.batches import character_batches, passages, running_rows, single_rows
from lab.data import POLICIES, LineWindows, Transcripts, join_lines, masks, pack, random_windows
from lab.decode import BeamSearch, Sampling, generate_batch, n_best
from lab.diffusion import (
    Absorbing,
    Diffusion,
    LineLengths,
    Reconstruction,
    Tuning,
    Uniform,
    VisualDiffusionConfig,
)
from lab.diffusion.codes import linear_patterns, random_patterns
from lab.diffusion.lines import line_batches
from lab.diffusion.writing import write_line
from lab.files import write_atomic
from lab.nn import RecurrentConfig, TransformerConfig
from lab.nn.positions import sinusoids
from lab.runs import Data, Experiment
from lab.score import COMPRESSORS, KneserNey, compressed_bits_per_char, score_lines
from lab.speech import (
    Audio,
    FeatureSpec,
    NGramScorer,
    Reading,
    Recognition,
    SpecAugment,
    SpeechConfig,
    SyntheticConfig,
    character_alphabet,
    log_mel,
    synthetic,
    transcribe,
)
from lab.speech.batches import SpeechStream
from lab.speech.ctc import ctc_loss, ctc_nats, occupancy
from lab.speech.ctc_beam import prefix_beam
from lab.text import TOKENIZERS, from_huggingface, load, to_huggingface, tokenizer_from_json
from lab.train import TrainConfig

STEPS, LEFT_AFTER, BATCHES = 20, 10, 50

# ---- fingerprints -----------------------------------------------------------------------------------------------


def sha(data: bytes | str) -> str:
    """A short fingerprint."""
    return hashlib.sha256(data.encode() if isinstance(data, str) else data).hexdigest()[:24]


def plain(value):
    """Anything as JSON; a tensor as the fingerprint of its type, shape and bytes."""
    if isinstance(value, Tensor):
        x = value.detach().cpu().contiguous()
        return sha(f"{x.dtype} {tuple(x.shape)} ".encode() + x.flatten().view(torch.uint8).numpy().tobytes())
    if is_dataclass(value):
        return plain(asdict(value))
    if isinstance(value, dict):
        return {str(name): plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return value.item() if isinstance(value, np.generic) else value


def fingerprint(value) -> str:
    """One fingerprint of it all."""
    return sha(json.dumps(plain(value)))


def weights_of(model) -> str:
    """One fingerprint of the weights, whatever they are called."""
    return sha("\n".join(sorted(set(plain(dict(model.state_dict())).values()))))


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# ---- texts and sounds -------------------------------------------------------------------------------------------


@lru_cache
def lines(first: int = 0, count: int = 300) -> list[str]:
    """Sentences of the grammar, which needs no download."""
    return list(load("grammar").lines[first : first + count])


ODD = [
    "", " ", "a", "  two  spaces ", "\ttab", "don't STOP — it’s 1234567 o'clock", "naïve café e\u0301", "x" * 40,
    "日本語のテキスト", "👩‍👩‍👧 family", "<s> not special </s>", "\u0007\ufffd", "مرحبا", "a\u200bb", "1,000.50 $",
]  # fmt: skip


@lru_cache
def encoded(kind: str = "bpe", size: int = 320) -> tuple:
    """A tokenizer of that kind, and the lines as its ids."""
    settings = {"bpe": {"vocab_size": size}, "word": {"max_vocab": size}, "char": {}}[kind]
    tokenizer = TOKENIZERS[kind].train(lines(), **settings)
    return tokenizer, tokenizer.encode_lines(lines())


SCRIPT = SyntheticConfig("digits", 40, 8, 8, speaker="whistle")


@lru_cache
def spoken():
    return synthetic(SCRIPT)


# ---- training ---------------------------------------------------------------------------------------------------


def recipes(text: str) -> dict[str, Experiment]:
    """A run of every kind of model and objective; what one starts from stands before it."""

    def transformer(**more) -> TransformerConfig:
        return TransformerConfig(**dict(vocab_size=320, context=32, width=32, feed_forward=64) | more)

    def made(
        model, objective=None, *, corpus=text, start=None, tokenizer="bpe", batch=4, seed=0, **training
    ) -> Experiment:
        extra = {} if objective is None else {"objective": objective}
        config = TrainConfig(**dict(steps=STEPS, warmup=4) | training)
        return Experiment(
            model, training=config, data=Data(corpus, tokenizer, batch), seed=seed, start=start, **extra
        )

    def recurrent(cell: str, **more) -> Experiment:
        return made(RecurrentConfig(320, context=32, width=32, cell=cell, **more))

    def visual(objective, start=None, **more) -> Experiment:
        config = VisualDiffusionConfig(transformer(context=64, dropout=more.pop("dropout", 0.0)), **more)
        return made(config, objective, start=start, tokenizer="char")

    def characters(
        objective: dict | None = None, training: dict | None = None, stack: dict | None = None, **more
    ):
        stack = transformer(**dict(context=64, num_layers=1, feed_forward=48, tied=True) | (stack or {}))
        config = CharEncoderConfig(stack, **dict(decoder_layers=1, latents=8, latent_width=6) | more)
        asked = CharacterObjectives(
            **dict(chunk=16, removed=(".,;:", " "), scored_lines=40) | (objective or {})
        )
        return made(config, asked, tokenizer="char", **training or {})

    def speech(objective: dict | None = None, width: int = 24, steps: int = STEPS, **more) -> Experiment:
        decoder = TransformerConfig(64, context=40, width=width, num_layers=1, feed_forward=32)
        config = SpeechConfig(decoder, **dict(encoder_layers=1, channels=4, kernel=5) | more)
        asked = Recognition(**dict(frames=600, script=SCRIPT) | (objective or {}))
        return made(config, asked, corpus="auto", tokenizer="char", other_lr=3e-3, steps=steps)

    cells = dict(head="factorised", granularity="cell")
    tuning = dict(prompts=2, samples=4, denoising_steps=4, scored_lines=20)
    few = dict(scored_lines=20)
    return {
        "decoder": made(transformer(), evaluate_every=10),
        "decoder, learned, layer norm, gated, tied": made(
            transformer(positions="learned", norm="layer", activation="gated_silu", tied=True, bias=True)
        ),
        "decoder, sinusoidal, post-norm": made(transformer(positions="sinusoidal", norm_place="post")),
        "decoder, no positions, grouped keys": made(transformer(positions="none", num_key_value_heads=2)),
        "decoder, latent keys": made(transformer(latent_width=12)),
        "decoder, two batches a step": made(transformer(dropout=0.1), accumulate=2, schedule="cosine"),
        "decoder, adamw": made(transformer(), optimizer="adamw", weight_decay=0.1, clip_norm=0.5),
        "decoder, bfloat16, words": made(transformer(), tokenizer="word", precision="bfloat16", seed=3),
        "decoder, longer": made(transformer(), steps=150),
        "judge": made(transformer(), tokenizer="char"),
        "elman": recurrent("elman"),
        "gru, feed-forward": recurrent("gru", num_layers=2, feed_forward=48, dropout=0.1),
        "lstm": recurrent("lstm"),
        "lstm, two layers, tied": recurrent("lstm", num_layers=2, dropout=0.1, tied=True),
        "reconstruction": visual(Reconstruction(words=64), code="learned"),
        "diffusion, learned code": visual(Diffusion(train_codes=True, **few), "reconstruction", code="learned"),
        "diffusion, words": visual(
            Diffusion(weights="bound", times="informative", **few), code="random", reads="words", time_input=True
        ),
        "diffusion, uniform": visual(
            Diffusion(**few), noise="uniform", granularity="cell", time_input=True, schedule="cosine"
        ),
        "diffusion, neighbours": visual(Diffusion(**few), neighbours=2, schedule="log-linear", dropout=0.1),
        "diffusion, factorised": visual(Diffusion(**few), **cells),
        "tuning": visual(Tuning(**tuning, judge="judge"), "diffusion-factorised", **cells),
        "characters": characters(stack=dict(dropout=0.1)),
        "characters, two batches a step": characters(
            dict(weights=Weights(bottleneck=1.0), last_weights=Weights(bottleneck=0.0), space_rate=0.1),
            dict(accumulate=2, evaluate_every=10),
        ),
        "characters, memory": characters(dict(memory=2), memory_slots=2, cross_attention="memory"),
        "characters, states": characters(
            dict(weights=Weights(bottleneck=0.0)), stack=dict(positions="learned"),
            latents=0, latent_width=0, cross_attention="states", head_maps=False,
        ),
        "speech": speech(dict(augment=SpecAugment(time_width=8), augment_after=4)),
        "speech, ctc alone": speech(dict(ctc_weight=1.0), embedding="blstm", normalize="utterance"),
        "speech, attention alone": speech(dict(ctc_weight=0.0), embedding="both", kernel=0, reduction=2),
        "speech, longer": speech(dict(ctc_weight=0.5), width=48, steps=160),
    }  # fmt: skip


class Trained(dict):
    """The runs by the names of their recipes, each trained when it is first asked for."""

    def __init__(self, folder: Path):
        super().__init__()
        self.folder = folder
        text = folder / "text.txt"
        text.write_text("\n".join(lines()) + "\n", encoding="utf-8")
        self.recipes = recipes(str(text))

    def __missing__(self, name: str) -> runs.Run:
        for earlier in ("reconstruction", "judge", "diffusion, factorised"):
            if name in ("tuning", "diffusion, learned code") and earlier not in self:
                _ = self[earlier]
        self[name] = runs.get_or_train(
            self.recipes[name], self.folder, name=called(name), progress=False, say=lambda _: None
        )
        return self[name]

    def interrupted(self, name: str) -> runs.Run:
        """The same, left in the middle and taken up again after something else drew random numbers."""
        where = {"folder": self.folder, "name": f"{called(name)}-again"}
        for _ in islice(reports := runs.training(self.recipes[name], **where), LEFT_AFTER):
            pass
        reports.close()
        torch.manual_seed(12345)
        torch.rand(3)
        return runs.get_or_train(self.recipes[name], **where, progress=False, say=lambda _: None)


def called(name: str) -> str:
    return name.replace(", ", "-").replace(" ", "-")


def training(trained: Trained) -> Iterator[tuple[str, dict]]:
    """Losses, weights and outcome of every run, and whether one that was interrupted comes to the same."""
    for name, recipe in trained.recipes.items():
        run = trained[name]
        found = history(run) | {"weights": weights_of(run.model), "outcome": runs.outcome(run)}
        if recipe.training.steps == STEPS:
            again = trained.interrupted(name)
            same = history(again) == history(run) and runs.outcome(again) == runs.outcome(run)
            found["interrupted, it is the same"] = same and weights_of(again.model) == weights_of(run.model)
        yield name, found


def history(run: runs.Run) -> dict:
    steps = [
        {k: v for k, v in one.items() if k not in ("seconds", "tokens_per_second")} for one in runs.steps(run)
    ]
    return {"losses": [step["loss"] for step in steps], "steps": fingerprint(steps)}


# ---- batches ----------------------------------------------------------------------------------------------------


def loaders(trained: Trained) -> Iterator[tuple[str, dict]]:
    """The first batches of everything that gives batches."""
    for name, make in LOADERS.items():
        batches = [vars(batch) for batch in islice(make(), BATCHES)]
        kinds = {kind for batch in batches for kind, x in batch.items() if x is not None}
        yield name, {kind: fingerprint([batch[kind] for batch in batches]) for kind in sorted(kinds)}


def windows(policy: str, shuffle: bool = True, stride: int = 1, **more) -> Callable:
    return lambda: LineWindows(encoded()[1], 16, policy, stride=stride).loader(
        8, shuffle=shuffle, generator=seeded(3), **more
    )


def packed(strategy: str, isolate: bool = True) -> Callable:
    return lambda: pack(encoded()[1], 48, strategy, generator=seeded(5)).loader(
        8, isolate=isolate, shuffle=True, generator=seeded(6)
    )


def running_text():
    tokenizer = encoded("char")[0]
    parts = passages(lines(), [line for n, line in enumerate(lines()) if n % 7])
    groups = running_rows((tokenizer.encode_lines(part) for part in parts), 64, 3)
    return character_batches(groups, 512, seeded(11))


LOADERS = {
    **{f"windows, {policy}": windows(policy) for policy in POLICIES},
    "windows in order": windows("slide", shuffle=False),
    "windows, stride 5": windows("continuous", stride=5),
    "windows, documents apart": windows("continuous", positions="line", isolate=True),
    "random windows": lambda: random_windows(join_lines(encoded()[1]), 16, 8, seeded(4)),
    "packed in order": packed("in_order"),
    "packed to fit": packed("best_fit"),
    "transcripts": lambda: Transcripts(lines(), encoded()[0]).loader(8, shuffle=True, generator=seeded(7)),
    "whole lines": lambda: line_batches(encoded()[1], 32, 256, seeded(8)),
    "lines of characters": lambda: character_batches(single_rows(encoded("char")[1], 64), 512, seeded(10)),
    "running text": running_text,
    "speech": lambda: SpeechStream(
        spoken().train, character_alphabet(), 900, 12, augment=SpecAugment(), augment_after=7
    ),
    "speech, begun later": lambda: SpeechStream(spoken().train, character_alphabet(), 900, 12, start=17),
}


# ---- decoding ---------------------------------------------------------------------------------------------------

STRATEGIES = {
    "greedy": Sampling(temperature=0),
    "sampling": Sampling(),
    "all filters": Sampling(temperature=1.2, top_k=40, top_p=0.9, min_p=0.02, repetition_penalty=1.2),
    "top-k": Sampling(top_k=10),
    "top-p": Sampling(top_p=0.8),
    "min-p": Sampling(min_p=0.1),
    "repetition": Sampling(temperature=0, repetition_penalty=1.5),
    "beams": BeamSearch(width=4),
    "beams, sums": BeamSearch(width=3, length_penalty=0.0, early_stopping=True),
    "beams, long": BeamSearch(width=3, length_penalty=1.5, early_stopping="never"),
}
BEGINNINGS = ["the king", "If", "", "No mum", "Either five pigs which"]


def decoding(trained: Trained) -> Iterator[tuple[str, dict]]:
    """Texts of every strategy, and of every other way to write and to hear."""
    for name in ("decoder, longer", "decoder, latent keys", "lstm", "gru, feed-forward"):
        run = trained[name]
        prompts = [[run.tokenizer.bos_id, *run.tokenizer.encode(text)] for text in BEGINNINGS]
        asked = dict(stop_id=run.tokenizer.eos_id, max_new_tokens=24)
        found = {how: written(run.model, prompts, strategy, **asked) for how, strategy in STRATEGIES.items()}
        found["not cached"] = written(run.model, prompts, Sampling(), cached=False, **asked)
        found["beyond the context"] = written(
            run.model, prompts, Sampling(), **asked | {"max_new_tokens": 70}
        )
        found["n best"] = fingerprint(n_best(run.model, prompts, BeamSearch(width=4, num_best=3), **asked))
        yield name, found
    for name in ("diffusion, learned code", "diffusion, words", "diffusion, uniform", "tuning"):
        run = trained[name]
        methods = ("ancestral",) if "uniform" in name else ("ancestral", "confidence", "remasking")
        ask = dict(prompt="the ", suffix=".", length=16, steps=6)
        yield (
            name,
            {
                m: write_line(run.model, run.tokenizer, method=m, generator=seeded(14), **ask).text
                for m in methods
            },
        )
    run = trained["characters"]
    text = " ".join(lines(count=4))
    ids = torch.tensor([run.tokenizer.encode(text[n : n + 16]) for n in range(0, 80, 16)])
    with torch.inference_mode():
        latents = run.model.compress(ids)
    yield (
        "bottleneck",
        {"latents": latents, "back": write_greedily(run.model, latents, run.tokenizer.bos_id).tolist()},
    )
    run = trained["speech, longer"]
    features, scorer = [one.features for one in spoken().test], NGramScorer(language_model(), run.tokenizer)
    for method in ("ctc", "ctc beam", "attention", "attention beam", "both"):
        reading = Reading(method, beam=6, weight=0.5, bonus=0.5, attention_weight=0.4)
        heard = (transcribe(run.model, run.tokenizer, features, reading, s) for s in (None, scorer))
        yield f"speech, {method}", dict(zip(("alone", "with a language model"), heard, strict=True))


def written(model, prompts: list, strategy, **options) -> dict:
    steps = list(
        generate_batch(model, prompts, strategy, generator=seeded(13), num_alternatives=3, **options)
    )
    tokens = [[row.token for row in rows if row is not None] for rows in zip(*steps, strict=True)]
    return {"tokens": tokens, "numbers": fingerprint(steps)}


def language_model() -> KneserNey:
    return KneserNey([one.text for one in spoken().train], order=4)


# ---- scores, tokenizers, numbers --------------------------------------------------------------------------------


def scores(trained: Trained) -> Iterator[tuple[str, dict]]:
    """What is measured, besides the outcomes of the runs."""
    held_out = lines(1000, 30)
    for name in ("decoder, longer", "lstm", "decoder, bfloat16, words"):
        run = trained[name]
        yield (
            name,
            {
                context: plain(score_lines(run.model, run.tokenizer, held_out, context=context))
                for context in (None, 9)
            },
        )
    run = trained["characters, memory"]
    yield "memory", plain(memory_effect(run.model, run.tokenizer, lines(1000, 60), held_out, memory=2))
    orders = {n: KneserNey(lines(), n).bits_per_char(held_out) for n in (1, 2, 5)}
    yield "baselines", orders | {n: compressed_bits_per_char(n, lines(), held_out) for n in COMPRESSORS}


def tokenizers(trained: Trained) -> Iterator[tuple[str, dict]]:
    """What tokenizers learn, how odd texts are encoded, and the formats of others."""
    for kind in TOKENIZERS:
        tokenizer, ids = encoded(kind, 1000)
        again = tokenizer_from_json(tokenizer.to_json())
        yield (
            kind,
            {
                "json": sha(tokenizer.to_json()),
                "lines": fingerprint(ids),
                "decoded": fingerprint([tokenizer.decode(one) for one in ids]),
                "odd": [attempt(tokenizer.encode, text) for text in ODD],
                "read back": again.encode_lines(lines()) == ids,
            },
        )
    file = to_huggingface(encoded("bpe", 1000)[0])
    yield "hugging face", {"file": json.loads(file) and sha(json.dumps(json.loads(file), sort_keys=True)),
                           "back": sha(from_huggingface(file).to_json())}  # fmt: skip


def attempt(fn: Callable, *arguments):
    """What comes of it, or the kind of error."""
    try:
        return fn(*arguments)
    except ValueError as error:
        return type(error).__name__


def numbers(trained: Trained) -> Iterator[tuple[str, dict]]:
    """Functions without weights: masks, positions, codes, noise, CTC, features."""
    documents = torch.tensor([[0, 0, 1, 1, 1, -1], [4, 4, 4, 4, 4, 4]])
    yield "masks", {
        "causal": masks.causal(6), "sliding": masks.sliding(9, 4), "prefix": masks.prefix(6, 3),
        "padding": masks.padding([2, 6], 6), "documents": masks.documents(documents),
    }  # fmt: skip
    yield "positions and codes", {
        "sines": sinusoids(torch.arange(40), 24), "random": random_patterns(320, 25, 3, seed=1),
        "linear": linear_patterns(2000, 25, 3),
    }  # fmt: skip
    cells, t = torch.randint(3, (4, 9, 25), generator=seeded(0)), torch.tensor([0.1, 0.4, 0.7, 1.0])
    x = torch.rand(4, 3, generator=seeded(1), dtype=torch.float64)
    for kind in (Absorbing, Uniform):
        for schedule in ("linear", "cosine", "log-linear"):
            noise, late = kind(3, schedule), t.clamp(max=0.9)
            yield f"{kind.__name__}, {schedule}", {
                "corrupted": noise.corrupt(cells, t, seeded(17), granularity="cell"),
                "alpha": noise.alpha(t), "transition": noise.transition(t / 2, late),
                "posterior": noise.posterior(torch.tensor([0, 1, 2, 2]), x / x.sum(-1, keepdim=True), t / 2, late),
            }  # fmt: skip
    for n, target in enumerate(([], [3], [3, 3, 5], [1, 2, 3, 4, 5, 6])):
        log_probs = torch.randn(14, 8, generator=seeded(n), dtype=torch.float64).log_softmax(-1)
        beams = [[list(one.tokens), one.score] for one in prefix_beam(log_probs, beam=5)]
        yield (
            f"CTC, {target}",
            {
                "nats": ctc_nats(log_probs, target).item(),
                "occupancy": occupancy(log_probs, target),
                "beams": beams,
            },
        )
    logits = torch.randn(3, 20, 8, generator=seeded(9)).log_softmax(-1)
    targets = torch.tensor([[3, 3, 5, -100], [1, 2, 3, 4], [7, -100, -100, -100]])
    yield "CTC of a batch", {"nats": ctc_loss(logits, torch.tensor([20, 12, 5]), targets)}
    n = torch.arange(16_000, dtype=torch.float64)
    wave = (0.4 * torch.sin(n * 0.05 * (1 + n / 16_000)) + 0.01 * torch.cos(n * 1.7)).float()
    specs = (
        FeatureSpec(rate=16_000),
        FeatureSpec(rate=16_000, mel="slaney", scale="db", bands=40, n_fft=400, hop=160),
    )
    yield "features", {spec.mel: log_mel(Audio(wave, 16_000), spec) for spec in specs}
    lengths = LineLengths.of([[2, *[7] * (n * n % 61), 3] for n in range(90)])
    yield "lengths of lines", {"nats": [lengths.nats(n) for n in range(0, 90, 7)]}


# ---- all of it --------------------------------------------------------------------------------------------------

SECTIONS = {one.__name__: one for one in (numbers, tokenizers, loaders, training, decoding, scores)}


def recorded(only: Iterable[str]) -> dict:
    """Every section, or only those named, with what the numbers depend on besides the package."""
    torch.set_num_threads(1)
    found = {
        "made with": {
            "python": sys.version.split()[0],
            "torch": torch.__version__,
            "processor": torch.backends.cpu.get_cpu_capability(),
        }
    }
    with tempfile.TemporaryDirectory() as folder:
        trained = Trained(Path(folder))
        for name in only or SECTIONS:
            start = time.perf_counter()
            torch.manual_seed(0)
            found[name] = {what: plain(values) for what, values in SECTIONS[name](trained)}
            print(f"{name:12}{time.perf_counter() - start:6.1f} s", flush=True)
    return json.loads(json.dumps(found))


def differences(old, new, place: str = "") -> Iterator[str]:
    """Where two records differ, with both values."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys([*old, *new]):
            yield from differences(old.get(key), new.get(key), f"{place} / {key}".removeprefix(" / "))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for n, pair in enumerate(zip(old, new, strict=True)):
            yield from differences(*pair, f"{place} [{n}]")
    elif old != new:
        yield f"{place}: {str(old)[:100]} -> {str(new)[:100]}"


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Record the package's numbers, or compare them with a record."
    )
    build = Path(__file__).resolve().parents[1] / "build" / "frozen.json"
    parser.add_argument("out", type=Path, nargs="?", default=build)
    parser.add_argument("--against", type=Path, help="a record to compare with")
    parser.add_argument(
        "--only", nargs="*", choices=SECTIONS, default=[], metavar="SECTION", help=", ".join(SECTIONS)
    )
    asked = parser.parse_args()
    found = recorded(asked.only)
    write_atomic(asked.out, json.dumps(found, indent=1) + "\n")
    if asked.against is None:
        return 0
    known = json.loads(asked.against.read_text("utf-8"))
    differing = list(differences({name: known.get(name) for name in found}, found))
    print("\n".join(differing) or "the same to the bit")
    return bool(differing)


if __name__ == "__main__":
    sys.exit(main())
