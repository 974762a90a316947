"""Models for tests of decoding, with weights large enough that their texts vary."""

import torch

from lab.nn import DecoderOnlyTransformer, TransformerConfig


def randomised(model: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5, generator=generator)
    return model.double().eval()


def transformer(vocab_size: int, context: int = 16, seed: int = 0, **settings) -> DecoderOnlyTransformer:
    sizes = dict(width=16, num_heads=2, feed_forward=16) | settings
    return randomised(DecoderOnlyTransformer(TransformerConfig(vocab_size, context, **sizes)), seed)
