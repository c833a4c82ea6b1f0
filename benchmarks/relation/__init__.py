"""Time, memory and growth of the exact algorithms for R_D*, and of their peers on the same inputs."""
