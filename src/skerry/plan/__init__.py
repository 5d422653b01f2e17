"""Looking ahead: the fleet file and a trace, replayed through production code.

Takes a resolved fleet and a trace of requests; gives every goal's prediction, with its
range over seeds, for this fleet and for a central cloud alone.
"""
