"""The fault harness: `./run faults [--quick] [--json]`.

It breaks what can break while an update is going out (workers, the queue, the database, the provider, the clock), and
judges by the ledger of what really arrived: nobody lost, nobody written to twice, and who may not have got it is said
to be unknown. Runs on a PostgreSQL of its own. docs/reference/faults.md has the table.
"""
