"""Type a sentence, choose a voice, hear it, and see what a recogniser makes of it; or load a WAV file."""

import io
from base64 import b64decode, b64encode
from collections.abc import Callable

from matplotlib.image import imsave
from traitlets import Unicode

from lab.show.clusters import legible, one_line
from lab.show.listening import Listened, listened
from lab.show.widgets.base import Widget
from lab.speech import espeak, voices
from lab.speech.audio import Audio, read_audio, wav_bytes
from lab.speech.model import SpeechTransformer
from lab.speech.whistle import VOICES as WHISTLES
from lab.speech.whistle import whistle
from lab.text import Tokenizer


def speakers() -> dict[str, Callable[[str], Audio]]:
    """Who can speak here, by name: espeak-ng's voices, those held out first, or whistles where there are none."""
    if espeak.available():
        accent = voices.ACCENTS[0]
        heldout = [*voices.TEST, *voices.VALIDATION]
        named_so = {f"{name} (held out)": name for name in heldout} | {name: name for name in voices.TRAIN}
        return {
            shown: lambda text, name=name: next(espeak.speak([espeak.Request(text, name, accent)]))
            for shown, name in named_so.items()
        }
    return {
        f"whistle {n} (held out)": lambda text, n=n: whistle(text, n, rate=22_050) for n in WHISTLES["test"]
    }


class SpeechExplorer(Widget):
    """Controls around a recogniser: a sentence and a voice, or a file; the sound, its picture, the transcripts.

    >>> SpeechExplorer(model, tokenizer, text="three one four")  # doctest: +SKIP
    """

    sentence = Unicode().tag(sync=True)
    voice = Unicode(help="the name of who speaks").tag(sync=True)

    def __init__(self, model: SpeechTransformer, tokenizer: Tokenizer, text: str = "three one four"):
        self.model, self.tokenizer, self.speakers = model, tokenizer, speakers()
        self.audio: Audio | None = None
        self.found: Listened | None = None
        self.said = ""
        super().__init__(sentence=text, voice=next(iter(self.speakers)))
        self._tell(self.say)

    def say(self) -> None:
        """Let the chosen voice say the sentence, and listen. Raises ValueError for what it cannot say."""
        if self.voice not in self.speakers:
            raise ValueError(f"there is no voice {self.voice!r} here; there are: {', '.join(self.speakers)}")
        self._listen(self.speakers[self.voice](self.sentence), self.sentence)

    def hear(self, audio: Audio, said: str = "") -> None:
        """Listen to a sound; `said` is what was said, where that is known. What cannot be heard is told in place."""
        self._tell(lambda: self._listen(audio, said))

    def load(self, data: str) -> None:
        """Listen to a file, whose bytes are given in base64. Raises AudioError for one that cannot be read."""
        self._listen(read_audio(b64decode(data)))

    answering = (say, load)

    def draw(self) -> dict:
        """What was heard last: the sound and its picture, as data that needs no file, the letters, the transcripts."""
        drawing = {"voices": list(self.speakers)}
        if self.found is None:
            return drawing
        found = self.found
        return drawing | {
            "sound": f"data:audio/wav;base64,{b64encode(wav_bytes(self.audio)).decode()}",
            "picture": picture_of(found),
            "seconds": found.seconds,
            "bands": found.features.shape[1],
            "letters": [[second, one_line(letter), p] for second, letter, p in found.letters],
            "said": legible(self.said),
            "ctc": legible(found.ctc),
            "attention": legible(found.attention),
        }

    def _listen(self, audio: Audio, said: str = "") -> None:
        self.found = listened(self.model, self.tokenizer, audio)
        self.audio, self.said = audio, said
        self.redraw()

    def _tell(self, work: Callable[[], None]) -> None:
        try:
            work()
        except ValueError as error:
            self.problem = str(error)


def picture_of(found: Listened) -> str:
    """The log-mel features as the address of a picture, a pixel a frame and band; low bands stand below."""
    made = io.BytesIO()
    imsave(made, found.features.T.numpy(), origin="lower", cmap="cividis", format="png")
    return f"data:image/png;base64,{b64encode(made.getvalue()).decode()}"
