"""Rendered scenes: pictures whose content is known, for tests, demonstrations and examples."""
