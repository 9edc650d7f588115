"""Tests of semret: a package, so that tests and the processes they start can import `tests.support`."""
