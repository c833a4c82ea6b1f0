"""Other people's planners with a trained model. Each module imports theirs when it is imported, never before."""
