"""What a trained model has kept, measured on observations that it was not trained on."""
