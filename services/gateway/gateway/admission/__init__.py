"""Who may come in, and who goes first: budgets for each tenant and modality, and fair queues for each modality.

``Admission`` (admission.py) is what the gateway talks to; ``open_admission`` (assembly.py) makes one from settings.
"""
