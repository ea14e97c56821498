"""Where a local cluster's spans go when nobody named a collector: kept in memory, bounded, looked at in a browser.

``otlp`` and ``body`` take in, ``store`` keeps, ``tree`` and ``summary`` make sense of a trace's spans, ``told`` puts
that into JSON, ``app`` answers. Knows OpenTelemetry's protocol and the names of attributes, and none of the services.
"""
