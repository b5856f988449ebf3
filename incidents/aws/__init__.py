"""The internal side at AWS: Incident Manager, OpsCenter and CloudWatch are told, and asked. No customer hears of it.

`asking` is the one way there; it knows the SDK and puts its failures into words.
"""

SOURCE = "commsportal"  # by which we know again what we opened there ourselves
RECORD_LABEL = "incident_record"  # of an alert: the ARN of the incident that was opened there
