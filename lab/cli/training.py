"""`lab train / sample / runs`: of runs."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import tyro

from lab.cli.errors import at_the_command_line
from lab.cli.flags import explain
from lab.files import printable
from lab.outside import named_class

Device = Literal["cpu", "cuda", "mps", "auto"]


def there(device: Device, *objectives) -> str:
    """The kind of device that is meant; ValueError where this machine has none, or it cannot do what is to be done."""
    from lab.bench import resolve_device

    kind = resolve_device(device).type
    if kind == "mps" and (others := [one.name for one in objectives if not hasattr(one, "language_model")]):
        raise ValueError(f"{others[0]} computes in ways that Apple's GPU does not know: say --device cpu")
    return kind


def train(given: list[str]) -> Callable[..., None]:
    """The command `train`: its flags are the fields of what `--objective` and `--recipe` name."""

    def train() -> None:
        """Train a model, or load it where it was trained already; Ctrl-C saves, the same command goes on."""

    if given[:1] != ["train"]:
        return train

    def train_it(experiment, device: Device | None, folder: Path | None, **options) -> None:
        from lab.runs import get_or_train
        from lab.train import parallel

        at = parallel.start(device and there(device, experiment.objective))
        try:
            get_or_train(experiment, folder, device=at, **options)
        finally:
            parallel.stop()

    command = with_flags(given, train_it)
    command.__doc__ = f"""{train.__doc__}

    Under torchrun several processes train one model: torchrun --nproc-per-node 2 -m lab train ...
{command.__doc__}"""
    return command


def with_flags(given: list[str], then: Callable) -> Callable:
    """`then(experiment, device=, folder=, name=, save_seconds=)` as a command, with a flag for each field."""
    from lab.runs import OBJECTIVES, Data, Experiment

    flags = ("--objective", "--recipe", "--start", "--folder")
    named, asked_recipe, asked_start, where = (_asked(given, flag) for flag in flags)
    cls = named_class(named) if named and ":" in named else named
    usual = Experiment.usual(cls, asked_recipe, asked_start, where)
    named = named or usual.objective.name
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
        subset: float = usual.data.subset,
        seed: int = usual.seed,
        start: str | None = asked_start,
        device: Device | None = None,
        folder: Path | None = None,
        name: str | None = None,
        save_seconds: float = 60.0,
    ):
        data = Data(corpus, tokenizer, batch_size, split_seed, subset=subset)
        experiment = Experiment(model, objective, training, data, seed, start)
        return then(experiment, device=device, folder=folder, name=name, save_seconds=save_seconds)

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
        subset: the share of the training lines, or utterances, that is used.
        seed: of the weights, dropout, the order of the batches, and the noise.
        start: the run, by name or path, with whose weights this one begins; its model, text and objective are then
            what is meant where nothing else is said.
        device: where to train; auto is a GPU where there is one, CUDA before mps. Absent: CUDA where it is, else cpu.
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
    device: Device = "cpu",
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
        device: where the model is; auto is a GPU where there is one, CUDA before mps.
        folder: where the runs are; `runs/` of the project if absent.
    """
    import torch

    from lab import runs
    from lab.decode import BeamSearch, Sampling

    loaded = runs.load(runs.find(run, folder), best=best, outside=[named_class(one) for one in own])
    loaded.model.to(there(device, loaded.experiment.objective))
    strategy = Sampling(temperature, top_k, top_p, min_p, repetition_penalty)
    if beams is not None:
        strategy = BeamSearch(beams, length_penalty, repetition_penalty=repetition_penalty)
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


def runs(
    folder: tyro.conf.Positional[Path | None] = None,
    compare: tuple[str, str] | None = None,
    delete: str | None = None,
    yes: bool = False,
    own: tuple[str, ...] = (),
) -> None:
    """The table of runs: the settings that differ, what came of them, and what room they take.

    Args:
        folder: where the runs are; `runs/` of the project if absent.
        compare: two runs, by name or path: only in what they differ, and what came of each.
        delete: a run, by name or path, that is to be deleted; it is asked whether that is meant.
        yes: it is meant: do not ask.
        own: your own classes that runs were trained with, as file.py:Class or module:Class.
    """
    from lab.runs import default_folder, side_by_side, tables

    outside = [named_class(one) for one in own]
    if delete is not None:
        return _delete(delete, folder, yes)
    if compare is not None:
        return print_table(side_by_side(*compare, folder, outside), across=True)
    found = tables(folder, outside)
    if not found:
        print(f"no runs in {folder or default_folder()}: `lab train` makes one")
    for objective, rows in found.items():
        if objective:
            print(printable(objective))
            print_table(rows)
        else:
            print(at_the_command_line("\n".join(f"{name}: {why}" for name, why in rows["state"].items())))


def _delete(name: str, folder: Path | None, yes: bool) -> None:
    """Delete a run, once it is said that this is meant."""
    from lab.runs import delete, disk_use, find, started_from

    run = find(name, folder)
    later = started_from(run)
    also = f"; {', '.join(later)} began with it and could not be trained on" if later else ""
    what = printable(f"{run} ({disk_use(run) / 1e6:,.1f} MB{also})")
    if not yes:
        if not sys.stdin or not sys.stdin.isatty():
            raise ValueError(f"{what} is kept: nobody is here to be asked, so say --yes if it is to go")
        if input(f"delete {what}? [y/N] ").strip().lower() not in ("y", "yes"):
            return print("kept")
    delete(run)
    print(f"deleted {what}")


def print_table(rows, across: bool = False) -> None:
    """A table of runs on the terminal, its columns named as shortly as they can be; `across` has a run a column."""
    counted = dict.fromkeys(("seconds", "tokens_per_second", "parameters"), "{:,.0f}")
    formats = counted | {"bits_per_char": "{:.3f}", "train_bits_per_char": "{:.3f}", "megabytes": "{:,.1f}"}
    rows = rows.rename(printable).map(lambda value: printable(value) if isinstance(value, str) else value)
    if "data.corpus" in rows:
        rows["data.corpus"] = rows["data.corpus"].map(lambda place: Path(place).name, na_action="ignore")
    rows = rows.dropna(axis="columns", how="all")
    for name in rows:
        told, known = formats.get(name, "{}").format, rows[name].notna()
        rows[name] = [told(value) if k else "-" for value, k in zip(rows[name], known, strict=True)]
    last = ["run", *(name.rpartition(".")[2] for name in rows)]
    rows.columns = [one if last.count(one) == 1 else name for one, name in zip(last[1:], rows, strict=True)]
    rows = rows.T if across else rows
    print(f"{rows.to_string(line_width=100, max_colwidth=60)}\n")


def _asked(given: list[str], flag: str) -> str | None:
    """The value of a flag that decides which others there are; None where it is absent."""
    for word, following in zip(given, [*given[1:], None], strict=True):
        name, equals, value = word.partition("=")
        if name == flag:
            return value if equals else following
    return None
