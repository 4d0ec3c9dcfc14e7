"""The standard's functions, one or two files for each of its chapters; toonygrad's face re-exports them.

They check their arguments in the user's terms and record operations; nothing here computes, but where the
standard needs values (`nonzero`, array `repeats`). The chapters know the Array and what a call records, not
the engine's inside.
"""
