"""What two or more Trichord services share.

Knows the wire contracts, the errors, the checkpoint layout and the arithmetic of media. Knows nothing of torch, and
nothing of any one service.
"""

__version__ = "0.1.0"
