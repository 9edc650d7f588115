"""Picture files: found, decoded, converted to RGB, within limits of memory and time."""
