"""The fleet as plain functions: resolve, lint, diff, place, decide; nothing here acts.

Takes the authored file (`skerry.schema.fleet_file`), desired and observed state;
gives the resolved `Fleet`, findings with their places, desired documents and the
policy of every site, and the next action of a node or a rollout. Time comes in as
an argument. Only `load` and `tables` read files.
"""
