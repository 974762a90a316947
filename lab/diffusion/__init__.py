"""Discrete diffusion over tokens drawn as small grids of colours."""
