"""Jobs: work that nobody waits for, kept in an object store and carried by Kafka. Shared by gateway and job-worker.

What a job is stands in the store, in objects that are written once; a message of the queue only says that there is
something to do. So a message that comes twice, late or never changes nothing in effect.
"""
