"""Random and exhaustive search: shards, checkpoints, results.

``selection``, ``sklearn`` and ``cli`` import it; ``evolution``, ``descent`` and ``fitting`` do not.
"""
