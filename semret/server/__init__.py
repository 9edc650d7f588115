"""A page in the browser and an interface over HTTP, over one index."""
