"""Where candidates come from: candidate i of a seed is a pure function of both.

``objectives``, ``runs``, the four methods and all above import it.
"""
