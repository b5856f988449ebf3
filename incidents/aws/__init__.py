"""The internal side at AWS: Incident Manager, OpsCenter and CloudWatch are told, and asked. No customer hears of it.

`asking` is the one way there; it knows the SDK and puts its failures into words.
"""
