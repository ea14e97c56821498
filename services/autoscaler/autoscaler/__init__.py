"""How many replicas each modality has, and why: one policy, three ways to make it so.

Imports no torch and no other service; knows gateways only by the demands that they publish.
"""
