"""Arithmetic of media: what an image or a sound becomes, and how many tokens. Pure; no decoding, no torch."""
