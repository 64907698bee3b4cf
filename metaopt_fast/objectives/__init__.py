"""Losses, counts and AUC of linear models: what the searches and descents evaluate.

The four methods may import it, and all above; ``runs`` asks any objective, and knows none.
"""
