"""The gateway's metrics, one module for each part of it that they are about.

A metric is defined here and observed where the thing happens; ``live`` looks at what is there now whenever a page is
asked for. Labels have few values, whatever clients send: no model, path, method or tenant of theirs becomes one.
"""
