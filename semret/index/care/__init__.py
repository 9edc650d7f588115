"""Check, repair, shrink and move an index."""
