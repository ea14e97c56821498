"""The gateway: splits a request by modality, encodes its media in parallel, merges in order, streams tokens back.

Never imports torch, never needs a tokenizer, never looks inside media.
"""
