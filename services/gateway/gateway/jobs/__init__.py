"""Jobs at the gateway: taken, kept going, told about, ended.

::

    checks.py       what may be in a job
    submission.py   takes one: all of it or nothing
    tally.py        the ends of one job's items, counted
    standing.py     jobs as they are now
    keeping.py      one job kept going: queued, queued again, cancelled, expired, ended
    turns.py        which gateway does that
    keeper.py       all open jobs, in turns
    sweeping.py     what is kept no longer
    listening.py    what workers tell of items that ended
    lag.py          how much waits in the queue
    listing.py      jobs and results, page by page
    desk.py         what handlers do with jobs
    service.py      the gRPC face
    assembly.py     all of it made, started and ended

What a job is stands in the object store; a message of the queue only says that there is something to do. Whatever is
lost in the queue is found missing in the store, and queued again.
"""
