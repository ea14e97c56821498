"""The simulated backend: models that wait as long as real ones would compute, and say that they are simulated.

For exercising queues, routing and scaling of many replicas on a small machine. ``latency`` and ``profile`` say how long
a model takes, ``identity`` what it is called, ``rows`` what its embeddings hold. Knows no torch and no service.
"""
