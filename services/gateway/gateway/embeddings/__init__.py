"""Embeddings of media seen before: found in Redis instead of encoded again, and encoded once however many ask at once.

``store`` is the face; ``flights`` joins those who ask in this process, ``shared_records`` those in others; ``record``
is what is kept, and never believed before it is verified.
"""
