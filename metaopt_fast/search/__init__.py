"""Random and exhaustive search: shards, checkpoints, results, and tables of points.

``selection``, ``sklearn`` and ``cli`` import it; ``evolution``, ``descent`` and ``fitting`` do not.
"""
