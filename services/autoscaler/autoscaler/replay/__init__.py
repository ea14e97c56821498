"""Replay: a trace of requests through simulated services under one scaler or another, and what came of it.

Discrete events, no waiting: an hour of thousands of requests a minute takes seconds. ``trace`` and ``traces`` say what
arrives, ``pool`` and its two kinds what serves it, ``scalers`` who decides on replicas, ``outcome`` how it went.
Latencies are those of ``trichord.simulation``: nothing here is a measurement of a cluster.
"""
