"""Encoders that sleep: requests are held while one is woken, and what work there is is told to whoever scales.

``WaitingRooms`` (rooms.py) is what encoding talks to; ``open_waking`` (assembly.py) makes all of it from settings.
"""
