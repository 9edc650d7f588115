"""Networks that turn pictures into patch tokens: one adapter per family, one table of names."""
