"""Tests on real Ray; a package, so that its cluster ends with it."""
