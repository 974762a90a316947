"""Attention, positions, transformers, recurrent models."""

from lab.nn.attention import MultiHeadAttention, attend, attention_weights
from lab.nn.cache import KeyValueCache
from lab.nn.config import TransformerConfig
from lab.nn.interop import from_transformers, to_transformers
from lab.nn.model import Model, evaluating
from lab.nn.positions import Positions
from lab.nn.recurrence import RecurrentConfig
from lab.nn.recurrent import RecurrentLM
from lab.nn.stack import Stack, TokenEmbedding
from lab.nn.transformer import (
    AttentionMaps,
    DecoderOnlyTransformer,
    EncoderDecoderTransformer,
    EncoderOnlyTransformer,
)

__all__ = [
    "AttentionMaps",
    "DecoderOnlyTransformer",
    "EncoderDecoderTransformer",
    "EncoderOnlyTransformer",
    "KeyValueCache",
    "Model",
    "MultiHeadAttention",
    "Positions",
    "RecurrentConfig",
    "RecurrentLM",
    "Stack",
    "TokenEmbedding",
    "TransformerConfig",
    "attend",
    "attention_weights",
    "evaluating",
    "from_transformers",
    "to_transformers",
]
