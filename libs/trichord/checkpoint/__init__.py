"""Checkpoints: their layout, digests, presets, and how they are made, pulled and read."""
