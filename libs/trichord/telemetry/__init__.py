"""What a process tells of itself: spans, metrics, the context that ties them to one request. Knows no service."""
