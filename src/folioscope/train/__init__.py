"""Training of the small embedded checkpoints: pages drawn on the spot, and what is learnt from them."""
