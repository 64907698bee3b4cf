"""Hyper-parameters chosen by models trained: cross-validation, and searches over descents.

``sklearn`` and ``cli`` import it.
"""
