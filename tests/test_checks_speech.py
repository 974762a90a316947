"""The checks of CTC and of output lengths pass ours and independent ones, and catch every planted bug."""

import numpy as np
import torch
import torch.nn.functional as nnf
from test_checks import blamed, failing, passing
from torch import nn

from lab import checks
from lab.speech.ctc import ctc_nats
from lab.speech.encoder import make_embedding, reduced

ONE, ENDS, DIFFER, EQUAL, SHORT = "one frame", "begin and end", "that differ", "that are equal", "too few"
ALL, SUM, LONG = "of any target", "sum to one", "hundreds"


def torchs(log_probs, target):
    lengths = torch.tensor([len(log_probs)]), torch.tensor([len(target)])
    return nnf.ctc_loss(log_probs[:, None], torch.tensor([target]).long(), *lengths, reduction="sum")


def textbook(bug=""):
    """Graves et al. 2006, section 4.1, state by state in NumPy, with probabilities or, without a bug, their logs."""

    def fn(log_probs, target):
        if bug == "last":
            log_probs = np.roll(log_probs, 1, axis=1)  # as if the blank were the last token
        names = [0]
        for token in target:
            names += [token, 0]
        if bug == "no blanks outside" and target:
            names = names[1:-1]
        add = np.maximum if bug == "likeliest" else np.logaddexp
        if bug == "plain numbers":
            log_probs, add = np.exp(log_probs), np.add
        nothing = 0.0 if bug == "plain numbers" else -np.inf
        times = np.multiply if bug == "plain numbers" else np.add
        starts = 1 if bug == "begins with a blank" else 2
        alpha = [log_probs[0, k] if s < starts else nothing for s, k in enumerate(names)]
        for frame in log_probs[1:]:
            before, alpha = alpha, []
            for s, k in enumerate(names):
                total = before[s]
                if s >= 1:
                    total = add(total, before[s - 1])
                skips = s >= 2 and k != 0 and (k != names[s - 2] or bug == "merges equals")
                if skips and bug != "never skips":
                    total = add(total, before[s - 2])
                alpha.append(times(total, frame[k]))
        ends = alpha[-1] if len(names) == 1 else add(alpha[-1], alpha[-2])
        if bug == "zero infinity" and ends == nothing:
            return 0.0
        return -(np.log(ends) if bug == "plain numbers" else ends)

    return fn


test_right_ctc_passes = passing(checks.ctc, ctc_nats, torchs, numpy=[textbook()])
test_wrong_ctc_is_caught = failing(
    lambda bug: checks.ctc(textbook(bug), given="numpy"),
    ("last", [ONE]), ("no blanks outside", [ENDS]), ("plain numbers", [LONG]),
    ("likeliest", [ENDS, SUM], "the likeliest path alone: add up all of them"),
    ("begins with a blank", [ONE]), ("merges equals", [EQUAL, SHORT]), ("never skips", [DIFFER]),
    ("zero infinity", [SHORT]),
    only=False,
)  # fmt: skip


WHOLE, ALONE, BATCH, PADDING, HEARD = "whole numbers", "alone", "in a batch", "padding", "is heard"


def half(lengths):
    return (lengths + 1) // 2


CONVOLUTION = nn.Conv1d(3, 4, 3, stride=2, padding=1)


def convolved(x, lengths):
    """An independent embedding: every three frames, two apart."""
    return CONVOLUTION(x.mT).mT


def test_ours_and_an_independent_embedding_pass():
    ours = make_embedding("both", 3, 8, 2, 4)
    checks.output_lengths(lambda x: reduced(x, 4), ours, bands=3).raise_if_failed()
    checks.output_lengths(lambda x: half(x).tolist(), convolved, bands=3).raise_if_failed()


test_wrong_lengths_are_caught = failing(
    lambda fn_and_embed: checks.output_lengths(*fn_and_embed, bands=3),
    ((lambda x: x // 2, convolved), [ALONE]),
    ((lambda x: x // 2 + 1, convolved), [BATCH]),
    ((lambda x: x / 2, convolved), [WHOLE]),
    ((half, lambda x, lengths: x[:, ::2]), [HEARD]),
    ((half, lambda x, lengths: x[:, 0]), [ALONE]),
    only=False,
)


def test_a_reverse_reading_of_padding_is_caught():
    # It reads the zeros behind the shorter rows first.
    cells = nn.LSTM(3, 4, batch_first=True, bidirectional=True)
    blamed(checks.output_lengths(lambda x: x, lambda x, lengths: cells(x), bands=3), [PADDING])
