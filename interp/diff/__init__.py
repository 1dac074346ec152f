"""What training changed: two states of a model compared by what they compute and by what their modules cause."""
