"""Atlas: which behaviours a model has, mined from what its components do at tokens that it predicts well."""
