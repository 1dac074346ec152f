"""Where models come from: `sources` names them, `smollm2` and `tiny` are there without a model hub."""
