"""Collect transitions by a policy, and draw batches from replay buffers."""
