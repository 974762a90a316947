"""Speech: from a waveform to text. Features, corpora, CTC, an encoder-decoder transformer, error rates."""
