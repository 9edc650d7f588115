"""From files to a stored, searchable collection."""
