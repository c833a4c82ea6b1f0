"""What is minimised: the joint objective, and the losses of readouts."""
