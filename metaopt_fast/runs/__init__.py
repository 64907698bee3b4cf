"""What all long calls share: asking any objective, ranking, workers, progress, provenance.

The four methods (``search``, ``evolution``, ``descent``, ``fitting``) and all above import it.
"""
