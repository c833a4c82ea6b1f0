"""R_D*: seconds, memory and growth of the exact algorithms, and their peers on the same inputs."""
