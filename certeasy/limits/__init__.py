"""What is counted of clients, and held against what they may do: requests, accounts, orders, names.

Counters are no decisions, and not in the log. What is decided from the log (the same certificate
once more, a name that fails again and again) is in `certeasy.decide`.
"""
