"""Speed and memory of training, of the environment and of the commands."""
