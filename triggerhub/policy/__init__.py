"""Decide, and do nothing else: no I/O, no clock, no random number; time and draws are arguments."""
