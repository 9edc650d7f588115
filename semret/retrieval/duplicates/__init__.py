"""Which images of an index are copies of one another: exact ones, near ones, mirrored ones."""
