"""How fast this machine runs both networks, and how fast it could: each stage beside its floor.

A checkpoint of the published size with random weights is written, loaded as a user loads one, and measured. `run` has
the story; `result` what is asked and what comes back, without torch.
"""
