"""`lab train / sample / runs`: of runs."""

import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal, get_args

import tyro

from lab.cli.errors import errors_told

Model = Literal["transformer", "lstm", "gru", "elman", "visual-diffusion", "char-encoder", "speech"]
Material = Literal["digits", "easy", "clauses", "folder"]
Stage = Literal["reconstruction", "diffusion", "tuning"]
Method = Literal["ancestral", "confidence", "remasking"]
TRAIN = (
    "Train a language model, or load it where it was trained already; Ctrl-C saves, the same command goes on."
)


def train(given: list[str]) -> Callable[..., None]:
    """The command `train`: its flags are those of the model that `--model` asks for, and of its `--stage`."""

    def train() -> None: ...

    train.__doc__ = TRAIN
    if given[:1] != ["train"]:
        return train
    from lab.runs import Plan
    from lab.runs.recipes import usual_speech

    choice, chosen_stage = _asked(given, "--model", Model), _asked(given, "--stage", Stage)
    chosen_material = _asked(given, "--material", Material)
    choice = choice or "transformer"  # absent; what is misspelt is refused below
    usual = usual_speech(chosen_material or "digits") if choice == "speech" else _usual(choice, chosen_stage)

    def train(
        plan: Annotated[tyro.conf.AvoidSubcommands[Plan], tyro.conf.arg(name="")] = usual,
        model: Annotated[Model, tyro.conf.arg(name="model")] = choice,
        stage: Stage | None = chosen_stage,
        material: Material | None = chosen_material,
        folder: Path | None = None,
        name: str | None = None,
        save_seconds: float = 60.0,
    ) -> None:
        with errors_told():
            from lab.runs import get_or_train
            from lab.train import parallel

            if stage and model != "visual-diffusion":
                raise ValueError(
                    f"only visual-diffusion is trained in stages: --model {model} takes no --stage"
                )
            if material and model != "speech":
                raise ValueError(f"only speech is made of a material: --model {model} takes no --material")
            device = parallel.start()
            try:
                get_or_train(plan, folder, name=name, save_seconds=save_seconds, device=device)
            except KeyboardInterrupt:
                sys.exit(130)
            finally:
                parallel.stop()

    train.__doc__ = f"""{TRAIN}

    Under torchrun several processes train one model: torchrun --nproc-per-node 2 -m lab train ...

    Args:
        plan: what to train, and on what.
        model: the kind; the flags below --model.width and so on are of this kind.
        stage: of visual-diffusion, by default the second; --start names the run of the stage before.
        material: of speech, by default digits; easy and clauses take their sentences from --corpus, folder is recorded
            speech in the folder --corpus.
        folder: where the runs are; `runs/` of the project if absent.
        name: the name of the run's folder, instead of one made from all settings and the code.
        save_seconds: how often it is saved on the way.
    """
    return train


def sample(
    run: tyro.conf.Positional[str],
    prompt: str = "",
    suffix: str = "",
    temperature: float = 0.8,
    top_k: int | None = None,
    top_p: float = 1.0,
    min_p: float = 0.0,
    repetition_penalty: float = 1.0,
    beams: int | None = None,
    length_penalty: float = 1.0,
    max_new_tokens: int = 100,
    cut_prompt: bool = False,
    steps: int | None = None,
    method: Method | None = None,
    seed: int = 0,
    best: bool = False,
    folder: Path | None = None,
) -> None:
    """Let a trained run continue a prompt.

    Args:
        run: its name, or a part of it that no other has (`lab runs` lists them), or its path.
        prompt: what the text begins with.
        suffix: what it ends with; visual-diffusion fills in what stands between.
        temperature: 0 always takes the likeliest token, 1 the model's own probabilities.
        top_k: draw from so many of the likeliest tokens; from all if absent.
        top_p: draw from the likeliest tokens that together have this probability.
        min_p: draw from the tokens at least this many times as likely as the likeliest.
        repetition_penalty: above 1 tokens that the text holds already become less likely.
        beams: instead of drawing, keep so many beginnings and write the best line they come to.
        length_penalty: of beams; 0 compares lines by their probability, 1 by that of a token.
        max_new_tokens: where to stop, if the line does not end before.
        cut_prompt: of a prompt that is longer than the model's context read the end.
        steps: in how many visual-diffusion writes the line; 16 if absent.
        method: how it does so; ancestral if absent.
        seed: the same seed gives the same text.
        best: the bundle of the best validation instead of the newest.
        folder: where the runs are; `runs/` of the project if absent.
    """
    with errors_told():
        import torch

        from lab import bundle
        from lab.decode.search import BeamSearch, Sampling
        from lab.runs import find

        loaded = bundle.load(find(run, folder), best=best)
        sampling = Sampling(temperature, top_k, top_p, min_p, repetition_penalty)
        generator = torch.Generator().manual_seed(seed)
        if loaded.experiment.kind == "speech":
            raise ValueError("this run writes down what it hears: `lab transcribe` gives it a sound file")
        if loaded.experiment.kind == "visual-diffusion":
            if beams:
                raise ValueError("visual-diffusion writes all of a line at once: it takes no --beams")
            settings = {"steps": steps, "method": method}
            _fill_in(loaded, prompt, suffix, max_new_tokens, sampling, generator, settings)
        elif suffix or steps is not None or method is not None:
            raise ValueError(
                f"only visual-diffusion takes --suffix, --steps and --method: this run is a "
                f"{loaded.experiment.kind}, which writes from left to right"
            )
        else:
            strategy = sampling if beams is None else BeamSearch(beams, length_penalty)
            _continue(loaded, prompt, max_new_tokens, strategy, generator, cut_prompt)


def runs(folder: tyro.conf.Positional[Path | None] = None) -> None:
    """The table of runs: the settings that differ, and what came of them.

    Args:
        folder: where the runs are; `runs/` of the project if absent.
    """
    with errors_told():
        from lab.runs import default_folder, table

        rows = table(folder)
        if rows.empty:
            print(f"no runs in {folder or default_folder()}: `lab train` makes one")
            return
        problems = rows["state"][rows["state"].str.startswith("damaged")]
        rows["state"] = rows["state"].str.split(":").str[0]
        formats = {"bits_per_char": "{:.3f}", "train_bits_per_char": "{:.3f}", "seconds": "{:,.0f}"}
        formats |= {"tokens_per_second": "{:,.0f}", "parameters": "{:,}"}
        print(rows.to_string(formatters={name: form.format for name, form in formats.items()}, na_rep="-"))
        for name, problem in problems.items():
            print(f"{name} is {problem}")


def pieces(tokenizer, tokens: Iterable[int]) -> Iterator[str]:
    """The text of `tokens` as they come; a character that is made of several tokens comes whole."""
    ids, shown, text = [], 0, ""
    for token in tokens:
        text = tokenizer.decode([*ids, token])
        ids.append(token)
        if not text.endswith("\N{REPLACEMENT CHARACTER}"):
            yield text[shown:]
            shown = len(text)
    yield text[shown:]


def _usual(model: str, stage: str | None):
    """The plan whose fields are the flags and their defaults."""
    from lab.bundle import NextToken
    from lab.chars import CharacterObjectives
    from lab.chars.model import CharEncoderConfig
    from lab.diffusion.stages import Diffusion, Reconstruction, Tuning
    from lab.diffusion.visual import VisualDiffusionConfig
    from lab.nn.recurrent import RecurrentConfig
    from lab.nn.transformer import TransformerConfig
    from lab.runs import Plan
    from lab.train import TrainConfig

    if model == "visual-diffusion":
        sizes = VisualDiffusionConfig(1024, context=192, reads="words", neighbours=2)
        if stage == "reconstruction":
            training = TrainConfig(steps=300, other_lr=0.05, warmup=5)
            return Plan(sizes, training, batch_size=8, objective=Reconstruction())
        if stage == "tuning":
            sizes = replace(sizes, head="factorised", granularity="cell")
            training = TrainConfig(60, other_lr=3e-4, warmup=0, schedule="constant", optimizer="adamw")
            return Plan(sizes, training, batch_size=8, objective=Tuning())
        return Plan(sizes, TrainConfig(steps=500), batch_size=8, objective=Diffusion())
    if model == "char-encoder":
        sizes = CharEncoderConfig(1024, tied=False, latents=32, latent_width=16)
        return Plan(
            sizes, TrainConfig(steps=500), tokenizer="char", batch_size=12, objective=CharacterObjectives()
        )
    sizes = TransformerConfig(1024) if model == "transformer" else RecurrentConfig(1024, cell=model)
    return Plan(sizes, TrainConfig(steps=500), objective=NextToken())


def _asked(given: list[str], flag: str, choices) -> str | None:
    """The value of a flag that decides which others there are; None where it is absent or misspelt."""
    value = " ".join(given).replace("=", " ").partition(f"{flag} ")[2].partition(" ")[0]
    return value if value in get_args(choices) else None


def _continue(loaded, prompt: str, max_new_tokens: int, strategy, generator, cut_prompt: bool) -> None:
    from lab.chars import NextCharacter
    from lab.decode.search import generate

    tokenizer = loaded.tokenizer
    drawn = generate(
        NextCharacter(loaded.model) if loaded.experiment.kind == "char-encoder" else loaded.model,
        [tokenizer.bos_id, *tokenizer.encode(prompt)],
        strategy,
        max_new_tokens=max_new_tokens,
        generator=generator,
        stop_id=tokenizer.eos_id,
        cut_prompt=cut_prompt,
    )
    print(prompt, end="", flush=True)
    for piece in pieces(tokenizer, (step.token for step in drawn)):
        print(piece, end="", flush=True)
    print()


def _fill_in(
    loaded, prompt: str, suffix: str, max_new_tokens: int, sampling, generator, settings: dict
) -> None:
    from lab.diffusion.stages import Reconstruction
    from lab.diffusion.writing import write_line

    if isinstance(loaded.experiment.objective, Reconstruction):
        raise ValueError(
            "this run is of the first stage, which only learns the code: sample one of the second"
        )
    line = write_line(
        loaded.model,
        loaded.tokenizer,
        prompt=prompt,
        suffix=suffix,
        max_new_tokens=max_new_tokens,
        sampling=sampling,
        generator=generator,
        **{name: value for name, value in settings.items() if value is not None},
    )
    print(line.text)
