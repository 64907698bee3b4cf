"""Gradient descents, many at once: update rules, the loop over steps, results.

``selection`` and ``cli`` import it; ``search``, ``evolution`` and ``fitting`` do not.
"""
