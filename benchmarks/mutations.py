"""Do the tests notice? Plants one mistake after another in a copy of the project, and runs the tests that should fail.

    python benchmarks/mutations.py                       all of them, about ten minutes
    python benchmarks/mutations.py --only chars nn       of some rooms
    python benchmarks/mutations.py --out caught.json

A mistake is a line of code changed for the worse in the way that hands do it: one off, a sign, a mask left out, a seed
not used. It is caught when a test fails that passes without it.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIMIT = 300  # seconds; what hangs is caught
MISSED = "NOT CAUGHT"


@dataclass(frozen=True)
class Mutation:
    """`old` in `lab/<file>`, once, becomes `new`; one of the `tests`, names of files, should then fail."""

    name: str
    file: str
    old: str
    new: str
    tests: str

    @property
    def room(self) -> str:
        return self.file.partition("/")[0].removesuffix(".py")


def copied(root: Path, folder: Path) -> Path:
    """The project without what is heavy and not tested."""
    heavy = {root / name for name in (".git", ".venv", "data", "runs", "node_modules")}

    def skipped(place: str, names: list[str]) -> set[str]:
        return {name for name in names if Path(place) / name in heavy or name == "__pycache__"}

    return Path(shutil.copytree(root, folder / "project", ignore=skipped, symlinks=True))


def failing(project: Path, tests: str) -> str:
    """What fails first of these tests, or ""."""
    names = [str(project / "tests" / name) for name in tests.split()]
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "-p", "no:cacheprovider", *names]
    environment = os.environ | {
        "PYTHONPATH": str(project),
        "OMP_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    try:
        done = subprocess.run(
            command, cwd=project, env=environment, capture_output=True, encoding="utf-8", timeout=LIMIT
        )
    except subprocess.TimeoutExpired:
        return "took too long"
    if done.returncode == 0:
        return ""
    told = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    if done.returncode not in (1, 2) or not told:
        raise RuntimeError(f"pytest did not run: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return told[0]


def plant(project: Path, mutation: Mutation) -> str:
    """Change the file, run the tests, put it back: what failed, or ""."""
    place = project / "lab" / mutation.file
    right = place.read_text("utf-8")
    if right.count(mutation.old) != 1:
        raise ValueError(
            f"{mutation.file} has {mutation.old!r} {right.count(mutation.old)} times, expected once"
        )
    place.write_text(right.replace(mutation.old, mutation.new), "utf-8")
    try:
        return failing(project, mutation.tests)
    finally:
        place.write_text(right, "utf-8")


def main(mutations: list[Mutation]) -> int:
    parser = argparse.ArgumentParser(description="Plant mistakes, and see whether the tests notice.")
    parser.add_argument("--only", nargs="*", help="rooms")
    parser.add_argument("--root", type=Path, default=ROOT, help="the project to copy")
    parser.add_argument(
        "--out", type=Path, help="a JSON file for the results; what stands in it is not done again"
    )
    parser.add_argument("--trust", action="store_true", help="that the tests pass without the mistakes")
    asked = parser.parse_args()
    found = json.loads(asked.out.read_text("utf-8")) if asked.out and asked.out.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        project = copied(asked.root, Path(folder))
        for mutation in mutations:
            if mutation.name in found or (asked.only and mutation.room not in asked.only):
                continue
            try:
                failed = plant(project, mutation)
                test = failed.partition(" ")[2].partition(" - ")[0].removeprefix("tests/")
                if test and not asked.trust and (before := failing(project, test)):
                    failed = f"fails without it too: {before}"
            except (OSError, ValueError, RuntimeError) as error:
                failed = f"not planted: {error}"
            found[mutation.name] = failed or MISSED
            print(f"{mutation.room:10} {mutation.name}: {found[mutation.name]}", flush=True)
            if asked.out:
                asked.out.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    missed = [name for name, result in found.items() if result == MISSED]
    print(f"{len(found) - len(missed)} of {len(found)} caught; not: {', '.join(missed) or 'none'}")
    return len(missed)


# fmt: off
MUTATIONS = [
    Mutation("True is a number", "config.py",
             "type(value) is not bool and math",
             "math",
             "test_config.py"),
    Mutation("a word counts once however often it occurs", "text/bpe_train.py",
             "pair_counts.get(pair, 0) + times * count",
             "pair_counts.get(pair, 0) + times",
             "test_bpe.py"),
    Mutation("a word after a space loses it", "text/bpe_encode.py",
             'self.encode_word(" " + word)',
             "self.encode_word(word)",
             "test_bpe.py"),
    Mutation("the seed of the split is ignored", "text/corpus.py",
             "rng = np.random.default_rng(seed)",
             "rng = np.random.default_rng(0)",
             "test_corpora.py"),
    Mutation("sentences are made backwards", "text/pcfg.py",
             "words.append(symbol)",
             "words.insert(0, symbol)",
             "test_grammar.py"),
    Mutation("a window one token too wide", "data/masks.py",
             "_band(T, min(width, T),",
             "_band(T, min(width + 1, T),",
             "test_masks.py"),
    Mutation("documents see padding", "data/masks.py",
             "same = (query == key) & (key >= 0)",
             "same = query == key",
             "test_masks.py"),
    Mutation("a prefix one token too long", "data/masks.py",
             "torch.arange(T, device=n.device) < n)",
             "torch.arange(T, device=n.device) <= n)",
             "test_masks.py"),
    Mutation("padding one token too short", "data/masks.py",
             "< lengths.view(-1, 1, 1, 1)",
             "<= lengths.view(-1, 1, 1, 1)",
             "test_masks.py"),
    Mutation("the last window is left out", "data/policies.py",
             "return 1 - context, inputs - 1",
             "return 1 - context, inputs - 2",
             "test_windows.py"),
    Mutation("a stride begins elsewhere", "data/lines.py",
             "last -= (last - first) % self.stride",
             "last -= 0",
             "test_windows.py"),
    Mutation("padding is a target", "data/lines.py",
             "np.copyto(y, IGNORE, where=padding)",
             "np.copyto(y, self.pad_id, where=padding)",
             "test_windows.py"),
    Mutation("the last rows come though they are dropped", "data/loader.py",
             "if len(held) and not self.drop_last:",
             "if len(held):",
             "test_windows.py"),
    Mutation("a document predicts the next one", "data/packing.py",
             "target = np.where(is_last, IGNORE,",
             "target = np.where(is_last & False, IGNORE,",
             "test_packing.py"),
    Mutation("the emptiest row instead of the fullest", "data/packing.py",
             "tightest = bisect_left(rooms, length)",
             "tightest = max(bisect_left(rooms, length), len(rooms) - 1)",
             "test_packing.py"),
    Mutation("padding is scored", "data/lengths.py",
             "pad(targets, IGNORE)",
             "pad(targets, pad_id)",
             "test_score.py"),
    Mutation("scores are over-scaled", "nn/attention.py",
             "scores = q @ k.mT * E**-0.5",
             "scores = q @ k.mT * E**-1",
             "test_attention.py"),
    Mutation("queries behind a cache see one key less", "nn/attention.py",
             ".tril(S - T)",
             ".tril(S - T - 1)",
             "test_attention.py"),
    Mutation("who sees nothing sees everything", "nn/attention.py",
             "return mixed if empty is None else mixed.masked_fill(empty, 0.0)",
             "return mixed",
             "test_attention.py"),
    Mutation("positions turn the other way", "nn/positions.py",
             "torch.cat((-second, first), dim=-1)",
             "torch.cat((second, -first), dim=-1)",
             "test_positions.py test_nn_interop.py"),
    Mutation("beams keep a dead text's cache", "nn/cache.py",
             "filled = room[:, :, start : self.length]",
             "filled = room[:, :, start + 1 : self.length]",
             "test_decode_beam.py test_decode_step.py"),
    Mutation("the latent is not normalised", "nn/latent.py",
             "latent = self.latent_norm(self.compress(x))[:, None]",
             "latent = self.compress(x)[:, None]",
             "test_attention.py test_transformer.py"),
    Mutation("the wrong gate starts open", "nn/recurrence.py",
             "nn.init.ones_(parameter[C : 2 * C])",
             "nn.init.ones_(parameter[:C])",
             "test_recurrent.py"),
    Mutation("the last token is forgotten between calls", "nn/recurrence.py",
             "torch.cat([last.transpose(0, 1), x[:, :-1]], dim=1)",
             "torch.cat([torch.zeros_like(x[:, :1]), x[:, :-1]], dim=1)",
             "test_recurrent.py"),
    Mutation("the first document's state goes on into the second", "nn/recurrent.py",
             "goes_on = row[starts], ~from_zeros[starts, None]",
             "goes_on = row[starts], from_zeros[starts, None] | True",
             "test_recurrent.py"),
    Mutation("the keys' gradient is not scaled", "scratch/attention.py",
             "@ query / scale",
             "@ query",
             "test_scratch.py test_scratch_gradient_check.py"),
    Mutation("the softmax's gradient has the wrong sign", "scratch/softmax.py",
             "return y * (grad_output - agreed)",
             "return y * (agreed - grad_output)",
             "test_scratch.py test_scratch_gradient_check.py"),
    Mutation("a wrong gradient passes", "scratch/gradient_check.py",
             "scale = max(_largest(measured), floor)",
             "scale = max(_largest(measured), floor, 1e3)",
             "test_scratch_gradient_check.py"),
    Mutation("long lines are read without their past", "score/lines.py",
             "stride = max(1, context // 2)",
             "stride = context",
             "test_score.py"),
    Mutation("the newline is not counted", "score/lines.py",
             "chars=sum(len(line) + 1 for line in lines)",
             "chars=sum(len(line) for line in lines)",
             "test_score.py"),
    Mutation("a wrong discount", "score/ngrams.py",
             "y = n[1] / (n[1] + 2 * n[2])",
             "y = n[1] / (n[1] + n[2])",
             "test_score.py"),
    Mutation("an unknown character costs nothing", "score/hidden.py",
             "return count * math.log(UNICODE - known)",
             "return 0.0 * count",
             "test_score.py"),
    Mutation("the end of a hidden word is free", "score/hidden.py",
             "len(line) - sum(map(len, known)) + len(parts) if fits",
             "len(line) - sum(map(len, known)) if fits",
             "test_score.py"),
    Mutation("the first step has no learning rate", "train/optim.py",
             "return (step + 1) / warmup",
             "return step / warmup",
             "test_train.py"),
    Mutation("decay makes weights grow", "train/optim.py",
             '1 - group["lr"] * group["weight_decay"]',
             '1 + group["lr"] * group["weight_decay"]',
             "test_train.py"),
    Mutation("biases decay too", "train/optim.py",
             '{"params": vectors, "weight_decay": 0.0}',
             '{"params": vectors, "weight_decay": weight_decay}',
             "test_train.py"),
    Mutation("Muon without Nesterov", "train/optim.py",
             'orthogonalise(p.grad.lerp(buffer, group["momentum"]))',
             "orthogonalise(buffer)",
             "test_train.py"),
    Mutation("evaluated with dropout", "train/loop.py",
             "    with evaluating(model):",
             "    with torch.no_grad():",
             "test_train.py test_train_state.py"),
    Mutation("a step of two batches counts one", "train/loop.py",
             "state.batches_taken += config.accumulate",
             "state.batches_taken += 1",
             "test_train_state.py test_train.py"),
    Mutation("the gradient is a mean of means", "train/loop.py",
             "parallel.sum_gradients(parameters, count)",
             "parallel.sum_gradients(parameters, count / config.accumulate)",
             "test_train.py"),
    Mutation("patience one evaluation too long", "train/state.py",
             "0 < self.config.patience <= self",
             "0 < self.config.patience < self",
             "test_train_state.py test_train.py"),
    Mutation("the worst is the best", "train/state.py",
             "validation < self.best_validation",
             "validation > self.best_validation",
             "test_train_state.py test_train.py"),
    Mutation("a resumed run sees the same batches again", "train/state.py",
             "taken = self.batches_taken\n",
             "taken = 0\n",
             "test_train_state.py"),
    Mutation("two processes divide by their own count", "train/parallel.py",
             "p.grad = (piece / count).view_as(p)",
             "p.grad = (piece / count * 2).view_as(p)",
             "test_train_parallel.py"),
    Mutation("a step's noise is the same in every batch", "train/loop.py",
             "state.batches_taken, micro",
             "0, micro",
             "test_train_state.py test_train.py"),
    Mutation("of equals all are kept", "decode/filters.py",
             "if ((logits >= least).sum(dim=-1) == k).all():",
             "if True:",
             "test_decode_filters.py"),
    Mutation("top-p keeps one too many", "decode/filters.py",
             "probs.cumsum(dim=-1) - probs >= p",
             "probs.cumsum(dim=-1) - probs > p",
             "test_decode_filters.py"),
    Mutation("min-p drops the borderline", "decode/filters.py",
             "probs < p * probs.amax",
             "probs <= p * probs.amax",
             "test_decode_filters.py"),
    Mutation("repetition is rewarded", "decode/filters.py",
             "torch.where(there > 0, there / penalty, there * penalty)",
             "torch.where(there > 0, there * penalty, there / penalty)",
             "test_decode_filters.py"),
    Mutation("the length penalty is inverted", "decode/strategies.py",
             "return total / length**self.length_penalty",
             "return total * length**self.length_penalty",
             "test_decode_beam.py"),
    Mutation("rows draw from each other's generators", "decode/search.py",
             "chance = [generator[name] for name in names] if",
             "chance = generator[: len(names)] if",
             "test_decode.py"),
    Mutation("a full context starts from nothing", "decode/reading.py",
             "self.length - max(1, self.context // 2)",
             "self.length - 1",
             "test_decode.py"),
    Mutation("a hash is not compared", "runs/manifest.py",
             "if sha256_bytes(data) != sha256:",
             "if False:",
             "test_runs_damage.py"),
    Mutation("dropout is drawn anew after resuming", "runs/generators.py",
             '    torch.set_rng_state(states["torch"])\n',
             "",
             "test_runs_checkpoint.py"),
    Mutation("the worst checkpoint is loaded as the best", "runs/folder.py",
             "return min(measured, key=measured.get)",
             "return max(measured, key=measured.get)",
             "test_runs_checkpoint.py"),
    Mutation("the oldest checkpoints are kept", "runs/folder.py",
             "list(left)[-keep_last:]",
             "list(left)[:keep_last]",
             "test_runs_checkpoint.py"),
    Mutation("another experiment is gone on with", "runs/checkpoint.py",
             "if changed := differences(run.experiment, experiment):",
             "if changed := []:",
             "test_runs_checkpoint.py"),
    Mutation("the seed of dropout is not set", "runs/loop.py",
             "        torch.manual_seed(seed + parallel.rank())\n",
             "",
             "test_runs.py"),
    Mutation("two processes train one run", "runs/lock.py",
             "        return taken and os.path",
             "        return os.path",
             "test_runs.py"),
    Mutation("too few characters are replaced", "chars/corruption.py",
             "(fate < split[0] + split[1])",
             "(fate < split[1])",
             "test_corruption.py"),
    Mutation("what was not removed is the label", "chars/corruption.py",
             ".masked_fill(~removed[:, :-1], pad_id)",
             ".masked_fill(removed[:, :-1], pad_id)",
             "test_corruption.py"),
    Mutation("the writer sees what it should write", "chars/losses.py",
             "shifted = F.pad(chunks[:, :-1], (1, 0), value=bos_id)",
             "shifted = chunks",
             "test_objectives_characters.py test_char_encoder.py"),
    Mutation("the last chunk of a line never comes", "chars/losses.py",
             "(length - chunk + 1).clamp(min=1)",
             "(length - chunk).clamp(min=1)",
             "test_objectives_characters.py"),
    Mutation("a blank's past has the wrong chance", "diffusion/noise.py",
             "((1 - before) / left)",
             "((1 - after) / left)",
             "test_diffusion_noise.py"),
    Mutation("what is given is noised", "diffusion/noise.py",
             "return lost if keep is None else lost & ~keep[..., None]",
             "return lost",
             "test_diffusion_noise.py test_diffusion_bound.py"),
    Mutation("times are not weighed back", "diffusion/losses.py",
             "weight = (-noise.slope(t) / density)",
             "weight = (-noise.slope(t))",
             "test_diffusion_bound.py"),
    Mutation("a line's length is free", "diffusion/bound.py",
             "nats += lengths.nats(len(ids) - 2)",
             "nats += 0.0",
             "test_diffusion_bound.py"),
    Mutation("a prompt is written over", "diffusion/sampler.py",
             "undone = ~given & (choose.chance(B, T) < again)",
             "undone = choose.chance(B, T) < again",
             "test_diffusion_sampler.py"),
    Mutation("the least sure come first", "diffusion/sampler.py",
             "surest.argsort(dim=-1, descending=True, stable=True)",
             "surest.argsort(dim=-1, descending=False, stable=True)",
             "test_diffusion_sampler.py"),
    Mutation("a cell's own evidence is counted twice", "diffusion/heads.py",
             "(log_marginals - (alpha * shown",
             "(log_marginals + (alpha * shown",
             "test_diffusion_denoiser.py test_diffusion_bound.py"),
    Mutation("a sample is compared with itself", "diffusion/tuning.py",
             "(rewards.sum(1, keepdim=True) - rewards) / (S - 1)",
             "rewards.sum(1, keepdim=True) / S",
             "test_diffusion_tuning.py"),
    Mutation("equal letters need no blank between", "speech/ctc.py",
             "names[s] != blank and names[s] != names[s - 2]",
             "names[s] != blank",
             "test_speech_ctc.py"),
    Mutation("a letter goes on and comes again", "speech/ctc_beam.py",
             "add(in_token, (*tokens, token), after_blank + p)",
             "add(in_token, (*tokens, token), both + p)",
             "test_speech_ctc.py"),
    Mutation("padding is hidden too", "speech/augment.py",
             "hidden = (time[:, :, None] | bands[:, None, :]) & real[:, :, None]",
             "hidden = time[:, :, None] | bands[:, None, :]",
             "test_speech_features.py"),
    Mutation("a resumed stream has other masks", "speech/batches.py",
             "taken + n >= self.augment_after",
             "n >= self.augment_after",
             "test_speech_batches.py test_speech_features.py"),
    Mutation("the encoder hears padding", "speech/encoder.py",
             "mask=None if real is None else real[:, None, None]",
             "mask=None",
             "test_speech_model.py"),
    Mutation("deletions and insertions are exchanged", "speech/scores.py",
             '("substitute", "delete", "insert")] for',
             '("substitute", "insert", "delete")] for',
             "test_speech_score.py"),
    Mutation("the end of a text is free", "speech/ctc_beam.py",
             "self.log_lm(tokens) + self.following[tokens][self.scorer.eos_id] if",
             "self.log_lm(tokens) if",
             "test_speech_ctc.py"),
    Mutation("a warm-up is timed", "bench/timing.py",
             "if turn >= warmup:",
             "if turn >= 0:",
             "test_bench_timing.py"),
    Mutation("attention is counted by half", "bench/counts.py",
             "+ 12 * config.num_layers",
             "+ 6 * config.num_layers",
             "test_bench_counts.py"),
    Mutation("a mask that shows padding passes", "checks/masks.py",
             '"no token sees padding": real & (to < 0)',
             '"no token sees padding": real & (to < -1)',
             "test_checks_masks.py"),
    Mutation("numbers a tenth off pass", "checks/numbers.py",
             "RTOL, ATOL = 1e-4, 1e-5",
             "RTOL, ATOL = 1e-1, 1e-1",
             "test_checks_attention.py"),
    Mutation("a leak from the next character passes", "checks/language_models.py",
             "~np.tri(T, k=-behind, dtype=bool)",
             "~np.tri(T, k=1 - behind, dtype=bool)",
             "test_checks_leak.py"),
    Mutation("a bound that is just met holds", "notebooks/claims.py",
             "(below is None or value < below)",
             "(below is None or value <= below)",
             "test_notebooks.py::test_a_claim_that_does_not_hold_raises"),
    Mutation("a stub breaks the notebook", "notebooks/exercises.py",
             "except (Exception, SystemExit)",
             "except SystemExit",
             "test_lessons.py::test_a_class_is_tried_too_and_a_check_of_ones_own"),
    Mutation("what is by hand may use lab", "notebooks/shape.py",
             "sorted(cell.names & of_lab)",
             "sorted(cell.names & set())",
             "test_lessons.py::test_what_is_out_of_shape_is_said_with_its_cell"),
    Mutation("a figure need not be read", "notebooks/shape.py",
             "if read is False and",
             "if read is None and",
             "test_lessons.py::test_what_is_out_of_shape_is_said_with_its_cell"),
    Mutation("a lesson may rest on an exercise", "notebooks/shape.py",
             "if other.tree and other not in (cell, check) and",
             "if other.tree and other in (cell, check) and",
             "test_lessons.py::test_what_is_out_of_shape_is_said_with_its_cell"),
    Mutation("settings of another profile", "notebooks/profiles.py",
             "zip(PROFILES, value, strict=True)",
             "zip(PROFILES[::-1], value, strict=True)",
             "test_lessons.py::test_settings_are_those_of_the_profile_and_the_table_has_all"),
    Mutation("an answer that was edited by hand", "notebooks/publish.py",
             "top.source != _boxed_answer(notebook)",
             "not top.source",
             "test_lessons.py::test_the_answer_stands_under_the_title_in_the_table_and_in_the_closing_line"),
    Mutation("a stub that gives what it gave", "notebooks/stubs.py",
             "zeroed(thing(*given, **named))",
             "thing(*given, **named)",
             "test_lessons.py::test_zeros_in_place_of_what_is_computed"),
]
# fmt: on

if __name__ == "__main__":
    sys.exit(main(MUTATIONS))
