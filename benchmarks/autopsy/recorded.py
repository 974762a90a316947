"""The figures that the stuck run printed, and each of them computed.

They are of sentences of an encyclopaedia, up to 256 characters long, with a vocabulary of 97; the levels are of the
corpus at hand, whose characters are about as unequal.
"""

import math

import pandas as pd

from autopsy.levels import DROPOUT, SPLIT, Levels, tied_start

WIDTH, VOCAB_SIZE = 256, 97  # of the recorded run

# What the recorded run printed: micro-batch, and the losses of MLM, CLM and reconstruction in nats.
RECORDED_LOG = (
    (50, 15.7121, 4.3169, 2.7255),
    (100, 7.6145, 3.8497, 1.6737),
    (150, 4.6039, 3.5316, 1.2295),
    (200, 3.8798, 3.3949, 0.9909),
    (250, 3.5758, 3.3315, 0.9058),
    (300, 3.3597, 3.2787, 0.7795),
    (350, 3.3269, 3.2313, 0.7187),
    (400, 3.3038, 3.1949, 0.7211),
    (450, 3.1953, 3.1604, 0.7207),
    (500, 3.2366, 3.1598, 0.6942),
    (550, 3.2805, 3.1527, 0.7017),
    (600, 3.2365, 3.1005, 0.6719),
    (650, 3.2320, 3.1072, 0.6872),
    (700, 3.2954, 3.1244, 0.6972),
    (750, 3.3804, 3.1042, 0.6946),
)


def explain(levels: Levels) -> pd.DataFrame:
    """Each recorded figure beside the number that explains it, in nats.

    The first row printed is of micro-batch 50, after 13 optimizer steps: MLM and CLM are on their way down from where
    they started, `computed` being the start. Reconstruction follows from MLM at any time, as both heads are one.
    """
    _, mlm, clm, reconstruction = RECORDED_LOG[0]
    stopped = RECORDED_LOG[-6:]
    mlm_end, clm_end, reconstruction_end = (sum(row[i] for row in stopped) / len(stopped) for i in (1, 2, 3))
    share, visible = levels.share_chosen, levels.reconstruction_visible
    start = (SPLIT[0] + SPLIT[1]) * tied_start(WIDTH, places=True, dropout=DROPOUT)
    rows = [
        ("MLM, first printed", mlm, start, "at step 0: 0.9 C sqrt((1 - dropout) / 2), and falling"),
        ("CLM, first printed", clm, math.log(VOCAB_SIZE) + 1 / 6, "at step 0: ln V + 1/6, and falling"),
        ("reconstruction, first printed", reconstruction, share * mlm, "share chosen x MLM, the others being right"),
        ("MLM, where it stops", mlm_end, levels.masked_unigram, "entropy of the characters behind <mask>"),
        ("CLM, where it stops", clm_end, levels.unigram, "entropy of the characters"),
        ("reconstruction, where it stops", reconstruction_end, share * mlm_end + (1 - share) * visible,
         "share x MLM + the rest x what a visible one costs, as it may be a replacement"),
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["figure", "recorded", "computed", "how"]).set_index("figure")
