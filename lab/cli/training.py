"""`lab train / sample / runs`: of runs."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import tyro

from lab.cli.errors import at_the_command_line
from lab.cli.flags import explain
from lab.files import printable
from lab.outside import named_class


def train(given: list[str]) -> Callable[..., None]:
    """The command `train`: its flags are the fields of what `--objective` and `--recipe` name."""

    def train() -> None:
        """Train a model, or load it where it was trained already; Ctrl-C saves, the same command goes on."""

    if given[:1] != ["train"]:
        return train

    def train_it(experiment, folder: Path | None, name: str | None, save_seconds: float) -> None:
        from lab.runs import get_or_train
        from lab.train import parallel

        device = parallel.start()
        try:
            get_or_train(experiment, folder, name=name, save_seconds=save_seconds, device=device)
        finally:
            parallel.stop()

    command = with_flags(given, train_it)
    command.__doc__ = f"""{train.__doc__}

    Under torchrun several processes train one model: torchrun --nproc-per-node 2 -m lab train ...
{command.__doc__}"""
    return command


def with_flags(given: list[str], then: Callable) -> Callable:
    """`then(experiment, folder, name, save_seconds)` as a command with a flag for each field of the experiment."""
    from lab.runs import OBJECTIVES, Data, Experiment

    named, asked_recipe = _asked(given, "--objective") or "next-token", _asked(given, "--recipe")
    cls = named_class(named) if ":" in named else named
    usual = Experiment.usual(cls, asked_recipe)
    explain(usual.model, usual.objective, usual.training)

    def train(
        model: type(usual.model) = usual.model,
        objective: tyro.conf.AvoidSubcommands[type(usual.objective)] = usual.objective,
        training: type(usual.training) = usual.training,
        kind: Annotated[str, tyro.conf.arg(name="objective")] = named,
        recipe: str | None = asked_recipe,
        corpus: str = usual.data.corpus,
        tokenizer: Literal["bpe", "word", "char"] = usual.data.tokenizer,
        batch_size: int = usual.data.batch_size,
        split_seed: int = usual.data.split_seed,
        seed: int = usual.seed,
        start: str | None = None,
        folder: Path | None = None,
        name: str | None = None,
        save_seconds: float = 60.0,
    ):
        data = Data(corpus, tokenizer, batch_size, split_seed)
        return then(Experiment(model, objective, training, data, seed, start), folder, name, save_seconds)

    recipes = ", ".join(getattr(usual.objective, "recipes", ())) or "it has only one"
    train.__doc__ = f"""
    Args:
        model: sizes and parts.
        objective: what the objective can be told.
        training: how to train.
        kind: what to train for: {", ".join(OBJECTIVES)}; or your own, as file.py:Class or module:Class.
        recipe: which of the objective's usual settings to begin from: {recipes}.
        corpus: a name (`lab corpus` lists them), or the path of your own text or speech.
        tokenizer: how the text is cut; "char" takes all characters, the others at most --model.vocab-size ids.
        batch_size: rows of --model.context tokens a batch, over all processes; whole lines in about this many.
        split_seed: of the lines for training, validation and test.
        seed: of the weights, dropout, the order of the batches, and the noise.
        start: the run, by name or path, with whose weights this one begins.
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
    method: str | None = None,
    seed: int = 0,
    best: bool = False,
    own: tuple[str, ...] = (),
    folder: Path | None = None,
) -> None:
    """Let a trained run continue a prompt.

    Args:
        run: its name, or a part of it that no other has (`lab runs` lists them), or its path.
        prompt: what the text begins with.
        suffix: what it ends with; diffusion fills in what stands between.
        temperature: 0 always takes the likeliest token, 1 the model's own probabilities.
        top_k: draw from so many of the likeliest tokens; from all if absent.
        top_p: draw from the likeliest tokens that together have this probability.
        min_p: draw from the tokens at least this many times as likely as the likeliest.
        repetition_penalty: above 1 tokens that the text holds already become less likely.
        beams: instead of drawing, keep so many beginnings and write the best line they come to.
        length_penalty: of beams; 0 compares lines by their probability, 1 by that of a token.
        max_new_tokens: where to stop, if the line does not end before.
        cut_prompt: of a prompt that is longer than the model's context read the end.
        steps: in how many diffusion writes the line; 16 if absent.
        method: how it does so: ancestral (if absent), confidence or remasking.
        seed: the same seed gives the same text.
        best: the checkpoint of the best validation instead of the newest.
        own: your own classes that the run was trained with, as file.py:Class or module:Class.
        folder: where the runs are; `runs/` of the project if absent.
    """
    import torch

    from lab import runs
    from lab.decode import BeamSearch, Sampling

    loaded = runs.load(runs.find(run, folder), best=best, outside=[named_class(one) for one in own])
    strategy = Sampling(temperature, top_k, top_p, min_p, repetition_penalty)
    if beams is not None:
        strategy = BeamSearch(beams, length_penalty)
    options = {"suffix": suffix or None, "steps": steps, "method": method}
    written = runs.generate(
        loaded,
        prompt,
        strategy,
        max_new_tokens=max_new_tokens,
        generator=torch.Generator().manual_seed(seed),
        cut_prompt=cut_prompt,
        **{option: value for option, value in options.items() if value is not None},
    )
    for piece in written:
        print(piece, end="", flush=True)
    print()


def runs(folder: tyro.conf.Positional[Path | None] = None, own: tuple[str, ...] = ()) -> None:
    """The table of runs: the settings that differ, and what came of them.

    Args:
        folder: where the runs are; `runs/` of the project if absent.
        own: your own classes that runs were trained with, as file.py:Class or module:Class.
    """
    from lab.runs import default_folder, tables

    found = tables(folder, outside=[named_class(one) for one in own])
    if not found:
        print(f"no runs in {folder or default_folder()}: `lab train` makes one")
    for objective, rows in found.items():
        if objective:
            print(printable(objective))
            print_table(rows)
        else:
            print(at_the_command_line("\n".join(f"{name}: {why}" for name, why in rows["state"].items())))


def print_table(rows) -> None:
    """A table of runs on the terminal, its columns named as shortly as they can be."""
    formats = {"seconds": "{:,.0f}", "tokens_per_second": "{:,.0f}", "parameters": "{:,}"}
    formats |= {"bits_per_char": "{:.3f}", "train_bits_per_char": "{:.3f}"}
    options = {"formatters": {name: form.format for name, form in formats.items()}, "na_rep": "-"}
    rows = rows.rename(printable).map(lambda value: printable(value) if isinstance(value, str) else value)
    if "data.corpus" in rows:
        rows["data.corpus"] = rows["data.corpus"].map(lambda place: Path(place).name)
    last = [name.rpartition(".")[2] for name in rows]
    rows.columns = [one if last.count(one) == 1 else name for one, name in zip(last, rows, strict=True)]
    rows = rows.dropna(axis="columns", how="all")
    print(f"{rows.to_string(line_width=100, max_colwidth=60, **options)}\n")


def _asked(given: list[str], flag: str) -> str | None:
    """The value of a flag that decides which others there are; None where it is absent."""
    value = " ".join(given).replace("=", " ").partition(f"{flag} ")[2].partition(" ")[0]
    return value or None
