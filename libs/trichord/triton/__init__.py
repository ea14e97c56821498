"""Triton Inference Server: its client, its model repositories, its process on this machine."""
