"""Yes-or-no arithmetic deals: how each component's vote for *yes* over *no* depends on the numbers in the question.

problems.py   two-option questions over two numbers, generated and tokenised: which is cheaper, packs, discounts, …
base.py       a tiny model that knows numbers and not the questions, built here on first use
teaching.py   a LoRA adapter that answers the questions, so that there is a mechanism to find
sweep.py      every component's contribution on a grid of the two numbers
differences.py  steps of one and carries, and how well a gradient through the number tokens foretells them
fits.py       contributions as f(a) + g(b) + h(a - b) + digits, and as Fourier series
operations.py which operation a component performs: candidates, their fit out of sample, and a null
analysis.py   one folder with all of it
page.py       and the page that shows it
"""
