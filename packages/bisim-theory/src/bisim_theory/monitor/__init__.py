"""Watch a training elsewhere: what it keeps of the distinctions that its data makes."""
