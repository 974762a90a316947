"""How many seconds of audio become features in a second, on one thread, beside kaldi-native-fbank?

Sixty utterances of 1 to 10 seconds, noise with pauses, as a corpus has them; both make 80 bands of the same frames,
without pre-emphasis and dither. They are timed in turn, by two clocks: that of the wall, and the time that the one
thread had a processor, which is what the claim is about and what a busy machine leaves nearly as it is.

    python benchmarks/speech_features.py [repeats]
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import kaldi_native_fbank as knf
import numpy as np
import torch

from lab.bench import machine, measure_together
from lab.files import write_atomic
from lab.speech import Audio, FeatureSpec, log_mel

UTTERANCES = 60
LEAST, GOAL = 1000, 3000  # audio seconds a second
RESULT = Path(__file__).parent / "results" / "speech_features.json"


def utterances(rate: int) -> list[Audio]:
    random = np.random.default_rng(0)
    made = []
    for seconds in np.linspace(1, 10, UTTERANCES):
        n = int(rate * seconds)
        loudness = np.repeat(random.uniform(0.001, 0.2, n // 1000 + 1), 1000)[:n]
        made.append(Audio(torch.from_numpy((loudness * random.standard_normal(n)).clip(-1, 1)).float(), rate))
    return made


def kaldi_options(spec: FeatureSpec) -> knf.FbankOptions:
    options = knf.FbankOptions()
    frame = options.frame_opts
    frame.samp_freq, frame.window_type, frame.dither = spec.rate, "hann", 0
    frame.frame_length_ms, frame.frame_shift_ms = 1000 * spec.n_fft / spec.rate, 1000 * spec.hop / spec.rate
    frame.preemph_coeff, frame.remove_dc_offset = 0, False
    options.mel_opts.num_bins, options.mel_opts.low_freq = spec.bands, 0
    options.mel_opts.is_librosa = spec.mel == "slaney"
    return options


def kaldi(samples: list[float], options: knf.FbankOptions) -> np.ndarray:
    bank = knf.OnlineFbank(options)
    bank.accept_waveform(options.frame_opts.samp_freq, samples)
    bank.input_finished()
    return np.stack([bank.get_frame(i) for i in range(bank.num_frames_ready)])


def counting(fn: Callable, spent: list[float]) -> Callable:
    """`fn`, which adds the processor time of each call to `spent`."""

    def run() -> None:
        start = time.process_time()
        fn()
        spent.append(time.process_time() - start)

    return run


def main(repeats: int = 9) -> bool:
    torch.set_num_threads(1)
    specs = {
        "22,050 Hz, hop 220, htk, log": FeatureSpec(),
        "16,000 Hz, hop 160, htk, log": FeatureSpec(16_000, hop=160),
        "16,000 Hz, hop 128, slaney, dB": FeatureSpec(16_000, hop=128, mel="slaney", scale="db"),
    }
    rows, claims = {}, []
    for name, spec in specs.items():
        audios, options = utterances(spec.rate), kaldi_options(spec)
        seconds = sum(audio.seconds for audio in audios)
        as_lists = [(32768 * audio.samples).tolist() for audio in audios]  # what it takes; not timed
        ways = {
            "lab": lambda audios=audios, spec=spec: [log_mel(audio, spec) for audio in audios],
            "kaldi-native-fbank": lambda lists=as_lists, options=options: [kaldi(x, options) for x in lists],
        }
        busy = {way: [] for way in ways}
        counted = {way: counting(fn, busy[way]) for way, fn in ways.items()}
        times = measure_together(counted, repeats=repeats, warmup=1)
        rows[name] = {}
        for way, t in times.items():
            rows[name][way] = {
                "wall_seconds": t.seconds,
                "processor_seconds": busy[way][1:],
                "audio_seconds_a_wall_second": seconds / t.median,
                "audio_seconds_a_processor_second": seconds / median(busy[way][1:]),
            }
            shown = [
                f"{rows[name][way][f'audio_seconds_a_{clock}_second']:8,.0f}"
                for clock in ("processor", "wall")
            ]
            print(
                f"{name:32} {way:20} {shown[0]} by the processor's clock {shown[1]} by the wall's", flush=True
            )
        speed = rows[name]["lab"]["audio_seconds_a_processor_second"]
        claims.append(
            {
                "claim": f"{name}: at least {LEAST:,} audio seconds a second of one thread, {GOAL:,} is the goal",
                "measured": speed,
                "met": speed >= LEAST,
                "goal_met": speed >= GOAL,
            }
        )
    for claim in claims:
        print(f"{'met   ' if claim['met'] else 'MISSED'} {claim['claim']}: {claim['measured']:,.0f}")
    result = {
        "question": __doc__.splitlines()[0],
        "machine": machine(),
        "utterances": UTTERANCES,
        "audio_seconds": seconds,
        "specs": rows,
        "claims": claims,
    }
    write_atomic(RESULT, json.dumps(result, indent=1) + "\n")
    return all(claim["met"] for claim in claims)


if __name__ == "__main__":
    sys.exit(0 if main(*map(int, sys.argv[1:])) else 1)
