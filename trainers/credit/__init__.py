"""Credit rules, one a file: from rows with a return to rows with weights per token. Start reading at `base`.

A new rule is one new file in this folder, found by itself, or one in another package, named by an entry point in the
group ``palaestra.credit``.
"""

from palaestra.trainers.credit.base import Credit, CreditError, credit_names, make_credit, register_credit

__all__ = ["Credit", "CreditError", "credit_names", "make_credit", "register_credit"]
