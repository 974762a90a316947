"""Speech: from a waveform to text. Features, corpora, CTC, an encoder-decoder transformer, error rates."""

from lab.speech.audio import Audio, AudioError, read_audio, wav_bytes
from lab.speech.augment import SpecAugment
from lab.speech.choosing import choose_weight, compare
from lab.speech.corpus import SpeechCorpus
from lab.speech.features import FeatureSpec, log_mel
from lab.speech.folders import folder_corpus, sample_folder
from lab.speech.fusion import NGramScorer
from lab.speech.model import SpeechConfig, SpeechTransformer
from lab.speech.objective import Recognition, usual_speech
from lab.speech.reading import Reading, listen, read, transcribe
from lab.speech.scores import cer, show_alignment, wer
from lab.speech.script import SyntheticConfig
from lab.speech.synthesis import synthetic
from lab.speech.text import character_alphabet, plain

__all__ = [
    "Audio",
    "AudioError",
    "FeatureSpec",
    "NGramScorer",
    "Reading",
    "Recognition",
    "SpecAugment",
    "SpeechConfig",
    "SpeechCorpus",
    "SpeechTransformer",
    "SyntheticConfig",
    "cer",
    "character_alphabet",
    "choose_weight",
    "compare",
    "folder_corpus",
    "listen",
    "log_mel",
    "plain",
    "read",
    "read_audio",
    "sample_folder",
    "show_alignment",
    "synthetic",
    "transcribe",
    "usual_speech",
    "wav_bytes",
    "wer",
]
