"""Indexing, searching and serving on several machines; the only room that imports Ray. Needs the extra ``cluster``."""
