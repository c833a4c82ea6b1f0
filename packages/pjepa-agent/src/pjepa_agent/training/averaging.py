"""The average of the weights over the course of training."""


def averaging_weight(update: int, share: float) -> float:
    """What the weights of an update, counted from 1, count in the average of all until then.

    Polynomial-decay averaging (Shamir and Zhang, 2013): those of update s have a weight of about s^g, g = 1/share - 2,
    so that their mean age is `share` of the updates so far, however many these are. A share of 1/2 is the plain mean.
    """
    power = 1 / share - 2
    return (power + 1) / (update + power)
