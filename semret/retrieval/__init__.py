"""The mathematics of matching, then search with it."""
