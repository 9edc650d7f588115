"""The files of an index on disk: written so that a crash loses nothing, read without trust."""
