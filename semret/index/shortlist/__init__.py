"""Inverted lists: a shortlist of a large collection that looks at a part of it."""
