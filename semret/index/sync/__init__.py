"""A folder of pictures becomes an index, and stays one."""
