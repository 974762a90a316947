"""Speech: from a waveform to text. Features, corpora, CTC, an encoder-decoder transformer, error rates."""

from lab.speech.audio import Audio, read_audio
from lab.speech.augment import SpecAugment
from lab.speech.choosing import choose_weight, compare
from lab.speech.ctc_beam import NGramScorer
from lab.speech.features import FeatureSpec, log_mel
from lab.speech.folders import folder_corpus, sample_folder
from lab.speech.model import SpeechConfig, SpeechTransformer
from lab.speech.objective import Recognition, usual_speech
from lab.speech.reading import Reading, listen, read, transcribe
from lab.speech.scores import cer, show_alignment, wer
from lab.speech.script import SyntheticConfig
from lab.speech.synthesis import synthetic
from lab.speech.text import character_alphabet

__all__ = [
    "Audio",
    "FeatureSpec",
    "NGramScorer",
    "Reading",
    "Recognition",
    "SpecAugment",
    "SpeechConfig",
    "SpeechTransformer",
    "SyntheticConfig",
    "cer",
    "character_alphabet",
    "choose_weight",
    "compare",
    "folder_corpus",
    "listen",
    "log_mel",
    "read",
    "read_audio",
    "sample_folder",
    "show_alignment",
    "synthetic",
    "transcribe",
    "usual_speech",
    "wer",
]
