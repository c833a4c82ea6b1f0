"""Objectives: the joint one that trains E, T and P, and the losses of readouts."""
