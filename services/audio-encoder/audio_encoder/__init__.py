"""The audio encoder: a torch-free front, and the Whisper tower that runs inside Triton."""
