"""Reports of experiments: documents, plots, and the paper's numbers beside ours."""
