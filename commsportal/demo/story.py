"""What the demo company went through: plain data, told by `build`."""

from dataclasses import dataclass, field

Words = dict[str, dict[str, str]]  # locale → field → text, where it differs from the template

# Component group → (component, what customers do with it)
COMPONENTS = {
    "Payments": [
        ("Card payments", "Pay by credit or debit card"),
        ("Bank transfers", "Pay from a bank account"),
        ("Payouts to merchants", "Money on its way to shops"),
    ],
    "Selling": [
        ("Online checkout", "The payment page of web shops"),
        ("Shop terminals", "Card readers at the till"),
    ],
    "Merchant area": [
        ("Merchant dashboard", "Sign in, see payments, give refunds"),
        ("Reports and exports", "Daily reports and accounting files"),
        ("Receipts by email", "Receipts and payment confirmations"),
    ],
    "For developers": [
        ("Payments API", "Create and manage payments from your own software"),
        ("Webhooks", "Messages about events, sent to your own software"),
    ],
}

CUSTOMER_PLANS = ("Starter", "Starter", "Business", "Starter", "Business", "Enterprise")
SEGMENTS = {
    "Enterprise": [{"attribute": "plan", "is": "one_of", "values": ["Enterprise"]}],
    "Business in Italy": [
        {"attribute": "plan", "is": "one_of", "values": ["Business", "Enterprise"]},
        {"attribute": "region", "is": "one_of", "values": ["Italy"]},
    ],
}
LARGE_CUSTOMER = "Aurora Hotels"
# A private component, what it is, and what else is on this customer's page.
OWN = ("Dedicated gateway", "For Aurora Hotels alone", ("Card payments", "Bank transfers", "Payments API"))


@dataclass(frozen=True)
class Said:
    """One published update. Minutes count from the start of the incident."""

    stage: str
    minute: int  # when it was published
    author: str
    approver: str
    promise: int = 0  # minutes until the next update, as promised
    expected: int = 0  # minute by which the end was expected
    words: Words = field(default_factory=dict)
    sent_back: str = ""  # why the approver asked for a change first


@dataclass(frozen=True)
class Past:
    """One incident from start to survey."""

    title: str
    days_ago: int
    clock: str  # local time of its start
    severity: str
    scenario: str
    components: dict[str, str]  # name → state
    declared_by: str
    declared: int  # minute
    updates: list[Said]
    scores: tuple[float, float, float]  # mean of clear, timely, useful
    answers: int
    comments: dict[str, list[str]]  # locale → comments


PAST = [
    Past(
        title="Card payments refused by one card network",
        days_ago=31,
        clock="09:38",
        severity="sev1",
        scenario="payments-failing",
        components={"Card payments": "partial_outage", "Online checkout": "degraded_performance"},
        declared_by="marta",
        declared=3,
        updates=[
            Said(
                "investigating",
                8,
                "anna",
                "luca",
                promise=20,
                words={
                    "en": {
                        "impact": "About one card payment in three is refused at the last step. Nobody is charged for "
                        "a refused payment. Bank transfers work."
                    },
                    "it": {
                        "impact": "Circa un pagamento con carta su tre viene rifiutato all'ultimo passaggio. Nessun "
                        "addebito per i pagamenti rifiutati. I bonifici funzionano."
                    },
                },
            ),
            Said(
                "identified",
                27,
                "anna",
                "luca",
                promise=20,
                expected=80,
                words={
                    "en": {
                        "issue": "One card network refuses our payments since {{ started }}, because a security "
                        "certificate of ours was not renewed in time. We are replacing it."
                    },
                    "it": {
                        "issue": "Un circuito di carte rifiuta i nostri pagamenti perché un nostro certificato di "
                        "sicurezza non è stato rinnovato in tempo. Lo stiamo sostituendo. Inizio del problema: "
                        "{{ started }}."
                    },
                },
                sent_back="Please say that nobody is charged for refused payments. Support is asked that every minute.",
            ),
            Said("identified", 46, "paolo", "marta", promise=20, expected=80),
            Said("monitoring", 65, "anna", "marta", promise=20),
            Said("resolved", 84, "anna", "luca"),
        ],
        scores=(4.5, 4.4, 4.2),
        answers=148,
        comments={
            "en": [
                "Clear and quick. I could tell my customers before they asked.",
                "Good that you said nobody was charged.",
                "Would have liked a phone number for large orders.",
            ],
            "it": [
                "Finalmente un messaggio che si capisce. Bravi.",
                "Utile sapere che i bonifici funzionavano.",
                "Tutto chiaro, ma l'SMS è arrivato due minuti dopo l'email.",
            ],
        },
    ),
    Past(
        title="Receipts arrive hours late",
        days_ago=24,
        clock="14:05",
        severity="sev3",
        scenario="delayed-notifications",
        components={"Receipts by email": "degraded_performance"},
        declared_by="luca",
        declared=13,
        updates=[
            Said(
                "investigating",
                22,
                "paolo",
                "anna",
                promise=30,
                words={
                    "en": {
                        "impact": "Shoppers get their receipt up to two hours after paying. Their payments are "
                        "complete, and shops see them at once."
                    },
                    "it": {
                        "impact": "Chi acquista riceve la ricevuta fino a due ore dopo il pagamento. I pagamenti sono "
                        "completi e i negozi li vedono subito."
                    },
                },
            ),
            Said("identified", 50, "paolo", "anna", promise=30, expected=120),
            Said("monitoring", 79, "giulia", "paolo", promise=30),
            Said("resolved", 108, "paolo", "luca"),
        ],
        scores=(4.0, 3.4, 3.8),
        answers=61,
        comments={
            "en": ["My customers wrote to me before you did.", "Fine, no drama."],
            "it": ["Il primo avviso è arrivato tardi.", "Chiaro che i pagamenti erano a posto, grazie."],
        },
    ),
    Past(
        title="Signing in to the merchant dashboard fails",
        days_ago=17,
        clock="08:12",
        severity="sev2",
        scenario="login-problems",
        components={"Merchant dashboard": "major_outage", "Reports and exports": "partial_outage"},
        declared_by="luca",
        declared=29,
        updates=[
            Said("investigating", 41, "tomas", "marta", promise=30),
            Said(
                "identified",
                118,
                "anna",
                "luca",
                promise=30,
                expected=180,
                words={
                    "en": {
                        "impact": "Nobody can sign in to the merchant dashboard, so refunds and reports have to wait. "
                        "Payments and payouts go through."
                    },
                    "it": {
                        "impact": "Nessuno riesce ad accedere all'area clienti: rimborsi e report devono attendere. "
                        "Pagamenti e accrediti vanno a buon fine."
                    },
                },
            ),
            Said("monitoring", 171, "anna", "marta", promise=45),
            Said("resolved", 214, "anna", "marta"),
        ],
        scores=(3.1, 1.9, 2.6),
        answers=117,
        comments={
            "en": [
                "More than an hour without a word. I opened three tickets.",
                "You promised an update in 30 minutes and it took 77.",
                "I reset my password twice before you told us not to.",
            ],
            "it": [
                "Un'ora e un quarto senza notizie, inaccettabile.",
                "Il messaggio era chiaro, ma è arrivato troppo tardi.",
                "L'ho saputo dai miei clienti.",
            ],
        },
    ),
    Past(
        title="Bank transfers held up at a clearing partner",
        days_ago=11,
        clock="16:26",
        severity="sev2",
        scenario="provider-failure",
        components={"Bank transfers": "partial_outage", "Payouts to merchants": "degraded_performance"},
        declared_by="ingrid",
        declared=4,
        updates=[
            Said(
                "investigating",
                9,
                "sofia",
                "anna",
                promise=30,
                words={
                    "en": {
                        "impact": "Transfers to banks outside Italy stay pending. The money has left the payer's "
                        "account and is safe. Card payments work."
                    },
                    "it": {
                        "impact": "I bonifici verso banche estere restano in attesa. Il denaro ha lasciato il conto "
                        "di chi paga ed è al sicuro. I pagamenti con carta funzionano."
                    },
                },
            ),
            Said("identified", 37, "sofia", "anna", promise=30, expected=120),
            Said("identified", 66, "sofia", "ingrid", promise=30, expected=120),
            Said("monitoring", 95, "paolo", "ingrid", promise=30),
            Said("resolved", 124, "sofia", "ingrid"),
        ],
        scores=(4.3, 4.2, 3.9),
        answers=96,
        comments={
            "en": ["Regular updates, thank you.", "It helped to know that the money was safe."],
            "it": [
                "Sapere che il denaro era al sicuro ha fatto la differenza.",
                "Aggiornamenti puntuali.",
                "Avrei voluto sapere quali banche erano coinvolte.",
            ],
        },
    ),
    Past(
        title="Wrong totals in daily reports after a change",
        days_ago=6,
        clock="11:14",
        severity="sev3",
        scenario="failed-release",
        components={"Reports and exports": "partial_outage"},
        declared_by="marta",
        declared=6,
        updates=[
            Said(
                "investigating",
                13,
                "chiara",
                "anna",
                promise=30,
                words={
                    "en": {
                        "impact": "Daily reports made today count refunds twice, so that the total is too low. The "
                        "payments themselves and their list are right."
                    },
                    "it": {
                        "impact": "I report giornalieri creati oggi contano due volte i rimborsi, quindi il totale è "
                        "troppo basso. I pagamenti e il loro elenco sono corretti."
                    },
                },
            ),
            Said("identified", 34, "chiara", "marta", promise=30, expected=75),
            Said("resolved", 62, "anna", "marta"),
        ],
        scores=(4.4, 4.1, 4.5),
        answers=44,
        comments={
            "en": ["You told us exactly which reports to make again. Perfect."],
            "it": ["Spiegazione ottima.", "Bene, ma correggete anche il file già inviato al commercialista!"],
        },
    ),
    Past(
        title="Requests to the Payments API fail at night",
        days_ago=2,
        clock="02:07",
        severity="sev2",
        scenario="api-degraded",
        components={"Payments API": "degraded_performance", "Webhooks": "degraded_performance"},
        declared_by="luca",
        declared=5,
        updates=[
            Said("investigating", 11, "paolo", "marta", promise=30),
            Said(
                "identified",
                40,
                "paolo",
                "luca",
                promise=30,
                expected=95,
                words={
                    "en": {
                        "impact": "About one request in ten gets an error answer, and events reach your software up "
                        "to 15 minutes late. No payment is lost."
                    },
                    "it": {
                        "impact": "Circa una richiesta su dieci riceve una risposta di errore e gli eventi arrivano "
                        "fino a 15 minuti più tardi. Nessun pagamento è andato perso."
                    },
                },
            ),
            Said("monitoring", 69, "paolo", "luca", promise=30),
            Said("resolved", 104, "giulia", "luca"),
        ],
        scores=(4.2, 4.4, 4.0),
        answers=52,
        comments={
            "en": ["The hint about request keys saved us from double charges.", "An SMS at 2 am. But a useful one."],
            "it": ["Consigli pratici molto utili.", "Bene anche di notte."],
        },
    ),
]


@dataclass(frozen=True)
class Ahead:
    """Maintenance that is announced and has not begun."""

    title: str
    days_ahead: int
    clock: str  # local time of its start
    hours: int
    components: list[str]
    author: str
    approver: str


AHEAD = Ahead(
    title="Move of the reports to a faster database",
    days_ahead=4,
    clock="22:00",
    hours=3,
    components=["Reports and exports"],
    author="marta",
    approver="paolo",
)
# Still going on: its first update is published, its second waits for approval.
OPEN = Past(
    title="Shop terminals answer slowly",
    days_ago=0,
    clock="",  # it began a little before the demo was loaded
    severity="sev3",
    scenario="slow-responses",
    components={"Shop terminals": "degraded_performance"},
    declared_by="marta",
    declared=4,
    updates=[
        Said(
            "investigating",
            12,
            "anna",
            "luca",
            promise=50,
            words={
                "en": {
                    "impact": "Paying by card at the till takes up to one minute instead of a few seconds. Payments go "
                    "through, and online shops are not affected."
                },
                "it": {
                    "impact": "Il pagamento con carta in cassa richiede fino a un minuto invece di pochi secondi. I "
                    "pagamenti vanno a buon fine e i negozi online non sono interessati."
                },
            },
        ),
        Said(
            "identified",
            33,
            "paolo",
            "",
            promise=75,
            expected=150,
            words={
                "en": {
                    "issue": "Shop terminals have been slow since {{ started }} because one of our two connections to "
                    "the card networks is overloaded. We are moving terminals to the other one.",
                    "impact": "Paying by card at the till takes up to one minute instead of a few seconds. Payments go "
                    "through, and online shops are not affected.",
                    "action": "Wait for the answer of the terminal before you try again: a second attempt can charge "
                    "the customer twice.",
                },
                "it": {
                    "issue": "I terminali nei negozi sono lenti perché uno dei nostri due collegamenti ai circuiti di "
                    "carte è sovraccarico. Stiamo spostando i terminali sull'altro. Inizio del problema: "
                    "{{ started }}.",
                    "impact": "Il pagamento con carta in cassa richiede fino a un minuto invece di pochi secondi. I "
                    "pagamenti vanno a buon fine e i negozi online non sono interessati.",
                    "action": "Attendere la risposta del terminale prima di riprovare: un secondo tentativo può "
                    "addebitare due volte il cliente.",
                },
            },
        ),
    ],
    scores=(0, 0, 0),
    answers=0,
    comments={},
)

# What monitoring noticed a little ago and nobody has decided about: (minutes ago, fingerprint, title, summary, labels)
MONITORING = "Prometheus"
RULE = ("Late receipts", "Receipts by email", "delayed-notifications", {"service": "receipts"})
ALERTS = [
    (
        11,
        "b2c1d0aa4e71f3c9",
        "Queue of receipts grows",
        "More than 2,000 receipts wait to be sent.",
        {"alertname": "ReceiptQueue", "service": "receipts", "severity": "warning"},
    ),
    (
        7,
        "7f0e44d19b3a6c52",
        "Receipts take longer than 10 minutes",
        "The slowest tenth of the last quarter of an hour.",
        {"alertname": "ReceiptDelay", "service": "receipts", "severity": "warning"},
    ),
]

# (role of the practice, people in the order in which they are asked)
DUTY = [
    ("incident_manager", ["marta", "luca"]),
    ("communications_manager", ["anna", "paolo"]),
    ("support_lead", ["giulia", "tomas", "chiara"]),
]

# Days since each was trained for their role; who is not named here never was. It counts for a year.
TRAINED = {"marta": 60, "luca": 150, "anna": 342, "paolo": 100, "giulia": 400, "tomas": 45}
TRAINING = "Workshop: what customers need to hear"

# Channels that somebody began to set up: they lack credentials, and no test has succeeded yet.
CHANNELS_TO_DO = [
    ("Amazon SES", "ses", {"region": "eu-south-1", "from_address": "status@example.com"}),
    ("X", "x", {}),
]
PLANNED_CHANNEL = "X"

# medium → (reason, what the provider said); outcomes of the few that fail
FAILURES = {
    "email": [
        ("550 5.1.1", "The mailbox does not exist."),
        ("552 5.2.2", "The mailbox is full."),
        ("451 4.7.1", "The receiving server refused too many times."),
    ],
    "sms": [
        ("UNREACHABLE", "The phone was switched off for longer than the message is kept."),
        ("BLOCKED", "The operator blocks messages of this kind to this number."),
    ],
}

FIRST_NAMES = {
    "it": "Alessia Andrea Beatrice Carlo Davide Elisa Fabio Federica Gianni Ilaria Laura Marco Michela Nicola Paola "
    "Roberto Sara Simone Teresa Vincenzo",
    "en": "Alice Benjamin Charlotte Daniel Emily Frank Grace Henry Isla Jack Katie Liam Megan Noah Olivia Patrick "
    "Rachel Samuel Tessa William",
}
LAST_NAMES = {
    "it": "Amato Barbieri Caruso Colombo Costa Esposito Ferrari Galli Gatti Leone Longo Mancini Moretti Parisi Ricci "
    "Rizzo Romano Russo Sala Villa",
    "en": "Adams Baker Bennett Carter Clarke Cooper Davies Evans Foster Green Harris Hughes Kelly Lewis Mason Parker "
    "Roberts Shaw Turner Walsh",
}
