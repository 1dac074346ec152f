"""Measures on finished games: numbers in, numbers out, each with its source and its null.

`information`   how much of a secret gets through a channel
`detection`     how well a monitor tells two kinds of episodes apart
`calibration`   how good stated probabilities are
"""
