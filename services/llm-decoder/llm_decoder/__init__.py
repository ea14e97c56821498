"""The llm-decoder: a torch-free front, and the LLaMA engine that runs inside Triton."""
