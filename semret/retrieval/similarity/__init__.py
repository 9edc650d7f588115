"""How alike two maps are: centring, kernels, products, matrices of similarity, and their comparison."""
