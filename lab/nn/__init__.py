"""Attention, positions, transformers, recurrent models."""

from lab.nn.attention import MultiHeadAttention, attend, attention_weights
from lab.nn.config import TransformerConfig
from lab.nn.evaluating import evaluating
from lab.nn.recurrence import RecurrentConfig
from lab.nn.recurrent import RecurrentLM
from lab.nn.transformer import DecoderOnlyTransformer, EncoderDecoderTransformer, EncoderOnlyTransformer

__all__ = [
    "DecoderOnlyTransformer",
    "EncoderDecoderTransformer",
    "EncoderOnlyTransformer",
    "MultiHeadAttention",
    "RecurrentConfig",
    "RecurrentLM",
    "TransformerConfig",
    "attend",
    "attention_weights",
    "evaluating",
]
