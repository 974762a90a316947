"""The checks of CTC and of output lengths pass ours and independent ones, and catch every planted bug."""

import numpy as np
import torch
import torch.nn.functional as nnf
from test_checks import blamed, failing
from torch import nn

from lab import checks
from lab.speech.ctc import ctc_nats
from lab.speech.encoder import make_embedding, reduced

ONE, ENDS, DIFFER, EQUAL, SHORT = "one frame", "begin and end", "that differ", "that are equal", "too few"
ALL, SUM, LONG = "of any target", "sum to one", "hundreds"


def test_ours_and_that_of_torch_pass():
    checks.ctc(ctc_nats).raise_if_failed()

    def torchs(log_probs, target):
        lengths = torch.tensor([len(log_probs)]), torch.tensor([len(target)])
        return nnf.ctc_loss(log_probs[:, None], torch.tensor([target]).long(), *lengths, reduction="sum")

    checks.ctc(torchs).raise_if_failed()


def textbook(bug=""):
    """Graves et al. 2006, section 4.1, state by state in NumPy, with probabilities or, without a bug, their logs."""

    def fn(log_probs, target):
        if bug == "mean":
            return textbook()(log_probs, target) / max(1, len(target))
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
        ends = alpha[-1] if bug == "ends with a blank" or len(names) == 1 else add(alpha[-1], alpha[-2])
        if bug == "zero infinity" and ends == nothing:
            return 0.0
        return -(np.log(ends) if bug == "plain numbers" else ends)

    return fn


def test_an_independent_one_passes():
    checks.ctc(textbook(), given="numpy").raise_if_failed()


test_wrong_ctc_is_caught = failing(
    lambda bug: checks.ctc(textbook(bug), given="numpy"),
    ("mean", [ALL]), ("last", [ONE]), ("no blanks outside", [ENDS]), ("plain numbers", [LONG]),
    ("likeliest", [ENDS, SUM], "the likeliest path alone: add up all of them"),
    ("begins with a blank", [ONE]), ("merges equals", [EQUAL, SHORT]), ("never skips", [DIFFER]),
    ("ends with a blank", [ONE]), ("zero infinity", [SHORT]),
    only=False,
)  # fmt: skip


WHOLE, ALONE, BATCH, PADDING, HEARD = "whole numbers", "alone", "in a batch", "padding", "is heard"


class Windows(nn.Module):
    """An independent embedding: every three frames, two apart, through one linear map, in a loop."""

    def __init__(self, bug=""):
        super().__init__()
        self.linear, self.bug = nn.Linear(9, 4), bug

    def forward(self, x, lengths):
        x = nnf.pad(x, (0, 0, 1, 1 if self.bug != "drops the last" else -1))
        starts = range(0, x.shape[1] - 2, 2)
        frames = [self.linear(x[:, t : t + 3].flatten(1)) for t in starts] or [x.new_zeros(len(x), 4)]
        return torch.stack(frames, dim=1)


class TwoConvolutions(nn.Module):
    """As many write it: the first layer's bias turns padding into something, which the second hears."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv1d(3, 6, 3, stride=2, padding=1), nn.GELU(), nn.Conv1d(6, 6, 3, stride=2, padding=1)
        )

    def forward(self, x, lengths):
        return self.layers(x.transpose(1, 2)).transpose(1, 2), reduced(lengths, 4)


def half(lengths):
    return (lengths + 1) // 2


def test_ours_and_an_independent_embedding_pass():
    checks.output_lengths(
        lambda x: reduced(x, 4), make_embedding("both", 3, 8, 2, 4), bands=3
    ).raise_if_failed()
    checks.output_lengths(half, Windows(), bands=3).raise_if_failed()
    checks.output_lengths(lambda x: half(x).tolist(), Windows(), bands=3).raise_if_failed()


test_wrong_lengths_are_caught = failing(
    lambda fn_and_embed: checks.output_lengths(*fn_and_embed, bands=3),
    ((lambda x: x // 2, Windows()), [ALONE]),
    ((lambda x: x // 2 + 1, Windows()), [BATCH]),
    ((lambda x: x / 2, Windows()), [WHOLE]),
    ((lambda x: half(x).max(), Windows()), [WHOLE]),
    ((half, Windows("drops the last")), [ALONE]),
    ((lambda x: reduced(x, 4), TwoConvolutions()), [PADDING]),
    ((half, lambda x, lengths: x[:, ::2]), [HEARD]),
    ((half, lambda x, lengths: x[:, 0]), [ALONE]),
    ((half, lambda x, lengths: None), [ALONE]),
    only=False,
)


def test_a_reverse_reading_of_padding_is_caught():
    # It reads the zeros behind the shorter rows first.
    cells = nn.LSTM(3, 4, batch_first=True, bidirectional=True)
    blamed(checks.output_lengths(lambda x: x, lambda x, lengths: cells(x), bands=3), [PADDING])
