"""The two networks, one module per box of the papers' figures: tensors in, tensors out."""
