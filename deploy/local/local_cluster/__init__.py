"""The local cluster: every process of Trichord on one machine, without containers.

``topology`` says which processes there are, ``supervisor`` runs them, ``cluster`` is the entry: it prepares, runs and
cleans up; ``detached`` does so in the background. Knows the services by their settings only; imports none.
"""
