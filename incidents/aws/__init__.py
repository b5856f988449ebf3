"""What the portal does on AWS besides sending: the internal side of an incident."""
