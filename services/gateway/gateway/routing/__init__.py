"""Which replica of a service takes a call, and what happens when it fails.

Reading order: ``pool`` (the replicas of a service), ``call`` (one call and its retries), ``policy`` (who is chosen),
``replica`` with ``outlier`` and ``verdict`` (what is learnt from every call), ``membership`` with ``discovery`` and
``watch`` (who is there).
"""
