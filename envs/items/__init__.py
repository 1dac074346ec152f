"""Items: programs and what they print, how they are made, and how they are run when a set of them is built."""
