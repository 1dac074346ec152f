"""Where models come from: `sources` names them, `packaged` and `tiny` ones are there without a model hub."""
