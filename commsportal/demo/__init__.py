"""The demo company: who works there. The rest of its story is in `story`, and `build` writes it down."""

# Known to everybody who reads this file: `load_demo` refuses to create these people unless PORTAL_DEMO is on.
DEMO_PASSWORD = "commsportal-demo"

# (username, role, name, the component group they are limited to; empty: all components)
STAFF = [
    ("marta", "Incident manager", "Marta Rinaldi", ""),
    ("luca", "Incident manager", "Luca Ferrante", ""),
    ("ingrid", "Incident manager", "Ingrid Solberg", "Payments"),
    ("anna", "Communications manager", "Anna Weber", ""),
    ("paolo", "Communications manager", "Paolo Conti", ""),
    ("sofia", "Communications manager", "Sofia Marchetti", "Payments"),
    ("giulia", "Support lead", "Giulia Neri", ""),
    ("tomas", "Support lead", "Tomás Herrera", ""),
    ("chiara", "Support lead", "Chiara Fontana", ""),
    ("elena", "Manager", "Elena Bassi", ""),
    ("admin", "Administrator", "Nadia Greco", ""),
]

# (username, role, name), in the order in which a visitor needs them.
DEMO_LOGINS: list[tuple[str, str, str]] = [(username, role, name) for username, role, name, _group in STAFF]
