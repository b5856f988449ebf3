"""The stream of events for other systems of the organisation: recorded, scoped to a person, and sent in order."""
