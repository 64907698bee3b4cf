"""Evolutions: strategies, the loop over generations, its file and its result.

``selection`` and ``cli`` import it; ``search``, ``descent`` and ``fitting`` do not.
"""
