"""Features equal an independent library's, know their own shape, and refuse what is no audio."""

import contextlib
import io
import math
import os
import struct
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.speech.audio import Audio, AudioError, check_audio, read_audio, wav_bytes
from lab.speech.augment import SpecAugment, spec_augment
from lab.speech.features import FeatureSpec, Normalizer, check_features, log_mel


def noise(seconds=0.5, rate=22_050, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return Audio(0.1 * torch.randn(int(seconds * rate), generator=generator), rate)


def tone(hertz, rate=22_050, seconds=0.5):
    return Audio(0.5 * torch.sin(2 * math.pi * hertz * torch.arange(int(rate * seconds)) / rate), rate)


def kaldi(audio, spec):
    """kaldi-native-fbank, told to do nothing besides: no dither, no pre-emphasis; the silence around is put there."""
    knf = pytest.importorskip("kaldi_native_fbank")
    options = knf.FbankOptions()
    frame, mel = options.frame_opts, options.mel_opts
    frame.samp_freq, frame.window_type, frame.snip_edges = spec.rate, "hann", True
    frame.frame_length_ms, frame.frame_shift_ms = 1000 * spec.n_fft / spec.rate, 1000 * spec.hop / spec.rate
    frame.dither, frame.preemph_coeff, frame.remove_dc_offset = 0, 0, False
    mel.num_bins, mel.low_freq, mel.high_freq = spec.bands, 0, 0
    mel.is_librosa = spec.mel == "slaney"
    options.use_energy, options.energy_floor = False, 0
    bank = knf.OnlineFbank(options)
    silence = np.zeros(spec.n_fft // 2)
    samples = np.concatenate([silence, audio.samples.numpy(), silence])
    bank.accept_waveform(spec.rate, (32768 * samples).tolist())  # its floor is for 16-bit numbers
    bank.input_finished()
    frames = np.stack([bank.get_frame(i) for i in range(bank.num_frames_ready)])
    return torch.from_numpy(frames) - 2 * math.log(32768)


@pytest.mark.parametrize(
    "spec",
    [FeatureSpec(), FeatureSpec(16_000, 1024, 160, 40), FeatureSpec(16_000, 512, 128, 80, mel="slaney")],
)
@pytest.mark.parametrize("sound", [noise, lambda rate: tone(440, rate)], ids=["noise", "tone"])
def test_log_mel_is_kaldis_to_a_hundredth(spec, sound):
    audio = sound(rate=spec.rate)
    ours, theirs = log_mel(audio, spec), kaldi(audio, spec)
    assert ours.shape == theirs.shape == (spec.frames(len(audio.samples)), spec.bands)
    # Far from a tone the power is what rounding leaves of it, 100 dB below: no two libraries agree there.
    heard = theirs > theirs.max() - 18
    assert heard.float().mean() > 0.2
    torch.testing.assert_close(ours[heard], theirs[heard], rtol=0, atol=0.01)


def test_decibels_are_below_the_loudest_place_and_end_at_80():
    features = log_mel(tone(1000), FeatureSpec(scale="db"))
    assert features.max() == 0 and features.min() == -80
    log = log_mel(noise(), FeatureSpec())
    decibels = ((10 / math.log(10)) * (log - log.max())).clamp(min=-80)
    torch.testing.assert_close(log_mel(noise(), FeatureSpec(scale="db")), decibels, rtol=0, atol=1e-3)


@settings(max_examples=30, deadline=None)
@given(samples=st.integers(1, 3000), hop=st.sampled_from([64, 100, 256]), n_fft=st.sampled_from([256, 400]))
def test_every_length_of_audio_has_the_frames_that_were_promised(samples, hop, n_fft):
    spec = FeatureSpec(8000, n_fft, hop, bands=20)
    audio = Audio(torch.full((samples,), 0.25).where(torch.arange(samples) % 2 == 0, -0.25), 8000)
    features = log_mel(audio, spec)
    assert features.shape == (spec.frames(samples), 20) and features.isfinite().all()


LOUD = (3 * tone(200).samples).clamp(-1, 1)  # clipped, also where it is turned down afterwards


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda: Audio(torch.zeros(0), 8000), "empty"),
        (lambda: Audio(torch.tensor([0.0, math.nan]), 8000), "not finite"),
        (lambda: Audio(torch.zeros(2, 100), 8000), "wrong shape"),
        (lambda: Audio(torch.zeros(100, dtype=torch.int16), 8000), "wrong type"),
        (lambda: log_mel(Audio(torch.zeros(5000), 22_050), FeatureSpec()), "silent"),
        (lambda: log_mel(Audio(LOUD, 22_050), FeatureSpec()), "clipped"),
        (lambda: log_mel(Audio(0.3 * LOUD, 22_050), FeatureSpec()), "clipped"),
        (lambda: log_mel(noise(rate=16_000), FeatureSpec()), "wrong rate"),
        (lambda: read_audio("missing.wav"), "unreadable"),
        (lambda: read_audio(b"no sound"), "unreadable"),
    ],
)
def test_what_is_no_audio_is_refused(call, reason):
    with pytest.raises(AudioError) as error:
        call()
    assert error.value.reason == reason and isinstance(error.value, ValueError)


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: FeatureSpec(hop=1024), "hop"),
        (lambda: FeatureSpec(n_fft=511), "n_fft"),
        (lambda: FeatureSpec(n_fft=256, hop=128, bands=200), "200 bands"),
        (lambda: Normalizer.fit([]), "no frames"),
        (lambda: check_features(torch.zeros(80, 10), FeatureSpec()), "transpose"),
        (lambda: check_features(torch.zeros(0, 80), FeatureSpec()), "at least 1"),
        (lambda: check_features(torch.full((3, 80), math.nan), FeatureSpec()), "NaN"),
        (lambda: check_features(torch.zeros(3, 80, dtype=torch.int64), FeatureSpec()), "floats"),
    ],
)
def test_what_makes_no_features_is_refused(call, named):
    with pytest.raises(ValueError, match=named):
        call()


@pytest.mark.parametrize("hertz", [50, 110, 440, 3000])
def test_loud_but_whole_audio_is_not_clipped(hertz):
    sound = Audio(2 * tone(hertz).samples, 22_050)  # full scale
    check_audio(sound)
    check_audio(read_audio(wav_bytes(sound)))  # and rounded to 16 bits


def test_normalising_gives_mean_0_and_deviation_1():
    some = torch.cat([3 + 2 * torch.randn(n, 5, dtype=torch.float64) for n in (30, 50, 7)])
    normalizer = Normalizer.fit(some.split([30, 50, 7]))
    spread, mean = torch.std_mean(some, 0, correction=0)
    torch.testing.assert_close(torch.tensor(normalizer.mean).double(), mean, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(torch.tensor(normalizer.std).double(), spread, rtol=1e-6, atol=1e-6)
    assert Normalizer.fit([torch.full((9, 2), -23.02585)]).std == (1, 1), "silence does not explode"


def test_spec_augment_hides_only_stretches_of_the_row_itself():
    features, lengths = torch.randn(40, 60, 20), torch.randint(20, 61, (40,))
    features = torch.where((torch.arange(60) < lengths[:, None])[..., None], features, torch.tensor(9.0))
    config = SpecAugment(time_masks=1, time_width=15, band_masks=1, band_width=6, time_share=0.25)
    before = features.clone()
    masked = spec_augment(features, lengths, config, torch.Generator().manual_seed(1))
    assert torch.equal(features, before), "the originals stay"
    widest_time = widest_band = 0
    for row, x, n in zip(masked, features, lengths.tolist(), strict=True):
        changed = row != x
        assert not changed[n:].any(), "padding is left alone"
        times, bands = changed[:n].all(1), changed[:n].all(0)
        assert torch.equal(changed[:n], times[:, None] | bands[None, :]), "whole frames and whole bands"
        for mask, most in ((times, min(15, n // 4)), (bands, 6)):
            at = mask.nonzero().flatten()
            assert len(at) <= most and (len(at) == 0 or int(at[-1] - at[0]) + 1 == len(at)), "one stretch"
        widest_time, widest_band = max(widest_time, int(times.sum())), max(widest_band, int(bands.sum()))
        mean = x[:n].mean(0)
        torch.testing.assert_close(row[:n][changed[:n]], mean.expand(n, 20)[changed[:n]], rtol=0, atol=1e-5)
    assert widest_time >= 12 and widest_band == 6, "and they are as wide as was allowed"


def test_stereo_flac_is_averaged(tmp_path):
    soundfile = pytest.importorskip("soundfile")
    left, right = tone(440).samples, tone(880).samples
    soundfile.write(tmp_path / "two.flac", torch.stack([left, right], 1).numpy(), 22_050)
    back = read_audio(tmp_path / "two.flac")
    torch.testing.assert_close(back.samples, (left + right) / 2, rtol=0, atol=1e-4)
    floats = io.BytesIO()
    soundfile.write(floats, left.numpy(), 22_050, format="WAV", subtype="FLOAT")
    assert torch.equal(read_audio(floats.getvalue()).samples, left)


NUMBERS = np.arange(-400, 400, dtype="<i2")
BYTES = NUMBERS.tobytes()
FORM = {"format": 1, "channels": 1, "rate": 8000, "bits": 16, "announced": 2 * len(NUMBERS), "extension": b""}


def wav(data=BYTES, **changed):
    """A WAV whose header says whatever is asked for."""
    form = FORM | changed
    width = form["channels"] * form["bits"] // 8
    head = (form["format"], form["channels"], form["rate"], form["rate"] * width % 2**32, width, form["bits"])
    head = struct.pack("<HHIIHH", *head) + form["extension"]
    head = b"WAVEfmt " + struct.pack("<I", len(head)) + head + b"LIST\3\0\0\0odd\0data"
    return (
        b"RIFF"
        + struct.pack("<I", form["announced"] % 2**31)
        + head
        + struct.pack("<I", form["announced"])
        + data
    )


PCM_GUID = struct.pack("<HHIH14s", 22, 16, 4, 1, bytes.fromhex("000000001000800000aa00389b71"))


@pytest.mark.parametrize(
    "data",
    [
        wav(),
        wav(announced=0xFFFF_FFFF),  # its length was not known when its header was written
        wav(announced=0x7FFF_FFFF - 36),
        wav(format=0xFFFE, extension=PCM_GUID),
        wav(channels=2, data=NUMBERS.repeat(2).tobytes(), announced=4 * len(NUMBERS)),
        wav(BYTES + b"LIST\1\0\0\0x"),
        *(("soundfile", kind) for kind in ("PCM_24", "PCM_32", "FLOAT", "DOUBLE")),
    ],
)
def test_every_kind_of_wav_holds_the_same(data, monkeypatch):
    if isinstance(data, bytes):
        monkeypatch.setitem(sys.modules, "soundfile", None)  # 16 bits are read without it
    else:
        file = io.BytesIO()
        soundfile = pytest.importorskip("soundfile")
        soundfile.write(file, NUMBERS / 32768, 8000, format="WAV", subtype=data[1])
        data = file.getvalue()
    audio = read_audio(data)
    assert audio.rate == 8000 and (audio.samples * 32768).tolist() == NUMBERS.tolist()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "unreadable"),
        (b"To be, or not to be", "unreadable"),
        (wav()[:-1], "cut short"),
        (wav()[: len(wav()) // 2], "cut short"),
        (wav(bits=24)[:-3], "cut short"),
        (wav()[:30], "unreadable"),
        (wav(channels=0), "unreadable"),
        (wav(channels=3), "unreadable"),
        (wav(rate=0), "unreadable"),
        (wav(b"", announced=0), "empty"),
        (wav(np.full(800, 900, "<f4").tobytes(), format=3, bits=32, announced=3200), "not scaled"),
        (wav(np.full(800, np.nan, "<f4").tobytes(), format=3, bits=32, announced=3200), "not finite"),
        (b"fLaC" + wav(), "unreadable"),
    ],
)
def test_a_sound_that_cannot_be_is_refused_by_its_name(tmp_path, data, reason):
    pytest.importorskip("soundfile")
    (tmp_path / "odd.wav").write_bytes(data)
    with pytest.raises(AudioError, match=r"odd\.wav") as error:
        read_audio(tmp_path / "odd.wav")
    assert error.value.reason == reason and "BytesIO" not in str(error.value)


def test_what_may_never_end_is_not_begun(tmp_path):
    with pytest.raises(AudioError, match="no plain file"):
        read_audio(tmp_path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.wav")
        os.truncate((tmp_path / "huge.wav").open("w").name, 40 << 30)
        for place in ("pipe.wav", "huge.wav"):
            with pytest.raises(AudioError, match=f"{place} is no plain file"):
                read_audio(tmp_path / place)


def test_a_refusal_names_the_file_it_was_read_from(tmp_path):
    (tmp_path / "fast.wav").write_bytes(wav(rate=4_000_000_000))
    with pytest.raises(AudioError, match=r"fast\.wav has 4,000,000,000"):
        log_mel(read_audio(tmp_path / "fast.wav"), FeatureSpec())


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 70), st.integers(0, 255))
def test_whatever_bytes_there_are_it_is_audio_or_an_audio_error(junk, at, byte):
    damaged = bytearray(wav())
    damaged[at] = byte
    for data in (bytes(damaged), wav()[:at] + junk, b"RIFF" + junk, b"fLaC" + junk):
        with contextlib.suppress(AudioError):
            assert len(read_audio(data).samples)
