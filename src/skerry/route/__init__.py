"""Where a request goes: tiers in order, residency first, breakers, deadlines, hedges.

Takes a request, the policy and what is known of each candidate; gives an answer and its reason.
"""
