"""Transitions of a policy, and the replay buffer that batches are drawn from."""
