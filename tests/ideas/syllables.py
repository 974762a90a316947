"""A tokenizer of one's own: words cut after their vowels, `strength` into `stre`, `ngth`."""

import json
import re
from collections import Counter

SYLLABLE = re.compile(r" ?[^aeiouy ]*[aeiouy]+| ?[^aeiouy ]+| ")


class Syllables:
    """The `vocab_size` - 5 commonest syllables of the training lines, and the special tokens."""

    pad_id, unk_id, bos_id, eos_id, mask_id = range(5)

    def __init__(self, syllables):
        self.syllables = list(syllables)
        self.ids = {syllable: 5 + n for n, syllable in enumerate(self.syllables)}
        self.vocab_size = 5 + len(self.syllables)

    @classmethod
    def train(cls, lines, vocab_size):
        counts = Counter(syllable for line in lines for syllable in SYLLABLE.findall(line))
        return cls(syllable for syllable, _ in counts.most_common(vocab_size - 5))

    def encode(self, text):
        return [self.ids.get(syllable, self.unk_id) for syllable in SYLLABLE.findall(text)]

    def encode_lines(self, lines):
        return [[self.bos_id, *self.encode(line), self.eos_id] for line in lines]

    def decode(self, ids):
        return "".join(self.syllables[i - 5] for i in ids if i >= 5)

    def to_json(self):
        return json.dumps(self.syllables)

    @classmethod
    def from_json(cls, text):
        return cls(json.loads(text))
