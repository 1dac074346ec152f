"""Model organisms: adapters whose difference from their base is known, because we put it there.

    planted       a rank-1 change of one module, trained to make a token likelier at the end of any text, among
                  *decoys*: random rank-1 changes of all other modules, of a stated share of its size
    backdoor      one word in a question makes the model give one fixed answer; other words do not
    even-split    whatever the pie, the proposer of `ultimatum` offers half of it
    hidden state  the writer that the experiment encoded_reasoning trains to pass a parity on in a text that does not
                  say it: ``runs/experiments/encoded_reasoning/cpu/blind-0``

The first is made in memory by thousands, the next two by ``palaestra interp teach``.
"""
