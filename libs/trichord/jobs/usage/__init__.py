"""Usage events: what every request took, for whoever invoices. Each is on disk before it is sent, and sent in order.

::

    spool.py      the log on disk: bounded, checked, first in first out
    reporter.py   a thread between it and the queue
    settings.py   where the log is, and how large it may be
    opening.py    all of it as settings say

Knows nothing of requests: whoever ends one makes its event.
"""
