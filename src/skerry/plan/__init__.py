"""Looking ahead: the fleet file and a trace, replayed through production code.

Takes a resolved fleet and a trace of requests; gives every goal's prediction, with its
range over seeds, for this fleet and for a central cloud alone. Each further question has a
package of its own (`finance`, `capacity`, `site`, ...); beside them stands what they share:
input columns, assumptions, kernels, regret. Every answer is a `schema.plan_report`.
"""
