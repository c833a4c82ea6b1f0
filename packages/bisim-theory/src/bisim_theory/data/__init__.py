"""D, what was observed: transitions, p of observations, and what a model makes of them."""
