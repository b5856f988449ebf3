"""Email through an SMTP server."""

import re
import smtplib
import ssl
from collections.abc import Iterator, Sequence
from typing import Any

from django import forms
from django.core.mail.utils import DNS_NAME
from django.core.validators import RegexValidator
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from channels.errors import DeliveryError, Permanent, Throttled, Transient, Uncertain
from channels.reasons import BAD_ADDRESS

from .base import Addressee, Capabilities, Message, Outcome, Provider
from .mail import Letter, ascii_address
from .receipts import ReceiptsForm
from .tls import SMTP, trusted

LOOPBACK = ("localhost", "127.0.0.1", "::1")
ENHANCED = re.compile(r"\b([245]\.\d{1,3}\.\d{1,3})\b")
# Servers without enhanced codes only say it in words.
UNKNOWN_USER = re.compile(r"\b(unknown|no such|does ?n[o']t exist|not found)\b", re.I)
SLOW_DOWN = re.compile(r"\b4\.(3\.2|4\.5)\b|throttl|\brate\b|too many|quota exceeded|slow down", re.I)

Reply = tuple[int, bytes]  # code and text, as smtplib has them


class SmtpForm(ReceiptsForm):
    host = forms.CharField(
        label=gettext_lazy("Server"),
        max_length=253,
        help_text=gettext_lazy("Host name, as in smtp.example.com."),
        validators=[
            RegexValidator(
                r"^([A-Za-z0-9._-]+|[0-9A-Fa-f:]+)$",
                gettext_lazy("“%(value)s” is not a host name; write only the name, as in smtp.example.com."),
            )
        ],
    )
    port = forms.IntegerField(
        label=gettext_lazy("Port"),
        min_value=1,
        max_value=65535,
        initial=587,
        help_text=gettext_lazy("587 with STARTTLS, 465 with TLS, 25 with neither."),
    )
    security = forms.ChoiceField(
        label=gettext_lazy("Encryption"),
        choices=[
            ("starttls", gettext_lazy("STARTTLS")),
            ("tls", gettext_lazy("TLS from the start")),
            ("none", gettext_lazy("None")),
        ],
    )
    user = forms.CharField(
        label=gettext_lazy("User name"),
        required=False,
        max_length=320,
        help_text=gettext_lazy("Empty: the server is used without logging in."),
    )
    password = forms.CharField(label=gettext_lazy("Password"), required=False, strip=False, widget=forms.PasswordInput)
    from_address = forms.EmailField(
        label=gettext_lazy("From address"),
        help_text=gettext_lazy("What recipients see as the sender. The server must be allowed to send for its domain."),
    )
    from_name = forms.CharField(label=gettext_lazy("From name"), required=False, max_length=80)
    bounce_address = forms.EmailField(
        label=gettext_lazy("Bounce address"),
        required=False,
        help_text=gettext_lazy(
            "Optional: where mail servers return what they could not deliver (the envelope's sender). Empty: the From "
            "address. Hand what arrives there to “manage.py take_bounces”."
        ),
    )
    timeout = forms.IntegerField(
        label=gettext_lazy("Timeout"),
        min_value=1,
        max_value=15,
        initial=10,
        help_text=gettext_lazy("Seconds to wait for the server, 1 to 15."),
    )

    field_order = [  # and last the secret for receipts
        *("host", "port", "security", "user", "password"),
        *("from_address", "from_name", "bounce_address", "timeout"),
    ]

    def clean_from_address(self) -> str:
        return _sender(self.cleaned_data["from_address"])

    def clean_bounce_address(self) -> str:
        address = self.cleaned_data["bounce_address"]
        return _sender(address) if address else ""

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        port, security = data.get("port"), data.get("security")
        if port == 465 and security != "tls":
            self.add_error("security", _("Port 465 speaks TLS from the start; choose TLS, or port 587."))
        if port == 587 and security == "tls":
            self.add_error("security", _("Port 587 speaks STARTTLS; choose STARTTLS, or port 465."))
        if data.get("user") and not data.get("password"):
            self.add_error("password", _("Enter the password of “%s”, or empty the user name.") % data["user"])
        if security == "none" and data.get("user") and data.get("host") not in LOOPBACK:
            self.add_error("security", _("The password would travel readable; choose STARTTLS or TLS."))
        return data


def _sender(address: str) -> str:
    try:
        return ascii_address(address)
    except ValueError:
        text = _("“%(value)s” cannot be a sender; use plain letters before the @.")
        raise forms.ValidationError(text % {"value": address}) from None


class Smtp(Provider):
    """One connection, kept from call to call; a message's bytes are prepared once."""

    label = gettext_lazy("Email: SMTP")
    # A call is short enough that a slow server cannot outlive the lease of the worker.
    capabilities = Capabilities(form="email", medium="email", max_batch=10)
    config_form = SmtpForm

    _smtp: smtplib.SMTP | None = None
    _letter: Letter | None = None
    _used = False  # whether the connection has carried something already, and may have gone stale since

    @property
    def _envelope_sender(self) -> str:
        return self.config.get("bounce_address") or self.config["from_address"]

    def send(self, message: Message, recipients: Sequence[Addressee]) -> list[Outcome]:
        if self._letter is None or self._letter.message is not message:
            try:
                self._letter = Letter(message, self.config["from_address"], self.config.get("from_name", ""))
            except ValueError as error:
                raise Permanent("bad-sender", str(error)) from None
        outcomes: list[Outcome] = []
        try:
            for outcome in self._hand_over_all(self._letter, recipients):
                outcomes.append(outcome)
        except DeliveryError as error:
            if isinstance(error, Uncertain):
                outcomes.append(Outcome(error=error))
            if not outcomes:
                raise
            # The rest was not handed over. What is permanent, the next call will meet first, and raise.
            rest = error if isinstance(error, Throttled) else Transient(error.code, error.detail)
            outcomes += [Outcome(error=rest)] * (len(recipients) - len(outcomes))
        return outcomes

    def _hand_over_all(self, letter: Letter, recipients: Sequence[Addressee]) -> Iterator[Outcome]:
        """What became of each, in order. Raises what concerns all further ones too.

        Where the server allows pipelining (RFC 2920) a message travels with the envelope of the next one: one round
        trip each instead of four.
        """
        sent = b""  # the message whose verdict is not read yet: it goes out with what follows
        for one in recipients:
            try:
                address, data = ascii_address(one.address), letter.to(one)
            except ValueError as error:
                if sent:
                    yield self._finish(sent)
                sent = b""
                yield Outcome(error=Permanent("bad-syntax", str(error)))
                continue
            if not (self._smtp or self._connect()).has_extn("pipelining"):
                yield self._hand_over(address, data)
                continue
            replies = self._push(sent, address)
            if sent:
                yield self._verdict(*next(replies)[0], sent)
            refused = self._envelope(*next(replies))
            sent = b"" if refused else data
            if refused:
                yield refused
        if sent:
            yield self._finish(sent)

    def _push(self, body: bytes, address: str) -> Iterator[tuple[Reply, ...]]:
        """Write a body, if there is one, and the next envelope: first the reply to the body, then the envelope's three.

        A connection that the server closed after its last message is opened anew, once.
        """
        envelope = f"MAIL FROM:<{self._envelope_sender}>\r\nRCPT TO:<{address}>\r\nDATA\r\n".encode("ascii")
        smtp, stale = self._smtp or self._connect(), self._used
        self._used = True
        handed_over = not body
        try:
            smtp.send(_stuffed(body) + envelope)
            if body:
                verdict = smtp.getreply()
                handed_over = True
                yield (verdict,)
            replies = (smtp.getreply(), smtp.getreply(), smtp.getreply())
        except (smtplib.SMTPException, OSError) as error:
            self._drop()
            if not handed_over:
                raise Uncertain("no-reply-after-data", _text(error)) from error
            if not stale:  # the message of this envelope has not been written yet
                raise Transient("connection-lost", _text(error)) from error
        else:
            if not stale or replies[0][0] != 421:
                yield replies
                return
            self._drop()
        yield from self._push(b"", address)

    def _envelope(self, mail: Reply, rcpt: Reply, data: Reply) -> Outcome | None:
        """None if the server waits for the message; a refusal of this recipient, raised if it would meet all others."""
        if mail[0] != 250:
            self._drop()
            raise _classify(mail[0], mail[1].decode("utf-8", "replace"))
        smtp = self._smtp
        assert smtp
        if rcpt[0] in (250, 251):
            return None if data[0] == 354 else self._refused(smtp, *data)
        if data[0] == 354:  # for nobody: it must be ended all the same
            self._drop()
            return self._refusal(*rcpt)
        return self._refused(smtp, *rcpt)

    def _finish(self, body: bytes) -> Outcome:
        """Write the last message; its verdict."""
        smtp = self._smtp
        assert smtp
        try:
            smtp.send(_stuffed(body))
            code, reply = smtp.getreply()
        except (smtplib.SMTPException, OSError) as error:
            self._drop()
            raise Uncertain("no-reply-after-data", _text(error)) from error
        return self._verdict(code, reply, body)

    def _hand_over(self, address: str, data: bytes) -> Outcome:
        """What became of one recipient, a command at a time. Raises what concerns all further ones too."""
        smtp = self._begin()
        accepted = False
        try:
            code, reply = smtp.rcpt(address)
            if code in (250, 251):
                code, reply = smtp.docmd("DATA")
                if code == 354:
                    smtp.send(_stuffed(data))
                    accepted = True
            if not accepted:
                return self._refused(smtp, code, reply)
        except (smtplib.SMTPException, OSError) as error:
            # The final dot was not transmitted, so the server must drop what it has.
            self._drop()
            raise Transient("connection-lost", _text(error)) from error
        try:
            code, reply = smtp.getreply()
        except (smtplib.SMTPException, OSError) as error:
            self._drop()
            raise Uncertain("no-reply-after-data", _text(error)) from error
        return self._verdict(code, reply, data)

    def _verdict(self, code: int, reply: bytes, data: bytes) -> Outcome:
        """What the reply to the final dot means. Without one the message may or may not be on its way."""
        if not 200 <= code < 600:
            self._drop()
            raise Uncertain("bad-reply-after-data", f"{code} {reply.decode('utf-8', 'replace')}")
        if code < 300:
            reference = re.search(rb"^Message-ID: <(.*)>\r$", data, re.M)
            return Outcome(ref=reference[1].decode() if reference else "")
        # The end of the data ended the transaction: there is nothing to reset.
        return self._refusal(code, reply)

    def _refused(self, smtp: smtplib.SMTP, code: int, reply: bytes) -> Outcome:
        """A refusal in the middle of a transaction, which is given up."""
        self._reset(smtp, code)
        return self._refusal(code, reply)

    def _refusal(self, code: int, reply: bytes) -> Outcome:
        """A refusal of this recipient; raised if it would meet all others too."""
        text = reply.decode("utf-8", "replace")
        error = _classify(code, text)
        if isinstance(error, Throttled) or code in (530, 535) or (code >= 500 and "relay" in text.lower()):
            self._drop()  # the next envelope may be on its way already
            raise error
        return Outcome(error=error)

    def _reset(self, smtp: smtplib.SMTP, code: int) -> None:
        try:
            if code == 421 or smtp.rset()[0] != 250:
                self._drop()
        except (smtplib.SMTPException, OSError):
            self._drop()

    def _begin(self) -> smtplib.SMTP:
        """A connection on which MAIL was accepted. A kept one that went stale meanwhile is opened anew, once."""
        kept = self._used
        try:
            smtp = self._smtp or self._connect()
            code, reply = smtp.mail(self._envelope_sender)
        except (smtplib.SMTPException, OSError) as error:
            self._drop()
            if kept:
                return self._begin()
            raise Transient("connection-lost", _text(error)) from error
        if code == 250:
            self._used = True
            return smtp
        self._drop()
        if kept and code == 421:
            return self._begin()
        raise _classify(code, reply.decode("utf-8", "replace"))

    def _connect(self) -> smtplib.SMTP:
        """An open, encrypted, logged-in connection. Raises DeliveryError."""
        host, security = self.config["host"], self.config.get("security", "starttls")
        options = {"timeout": float(self.config.get("timeout") or 10), "local_hostname": DNS_NAME.get_fqdn()}
        smtp: smtplib.SMTP | None = None
        try:
            if security == "tls":
                smtp = smtplib.SMTP_SSL(host, int(self.config["port"]), context=trusted(SMTP), **options)
            else:
                smtp = smtplib.SMTP(host, int(self.config["port"]), **options)
            if security == "starttls":
                smtp.starttls(context=trusted(SMTP))
            if self.config.get("user"):
                smtp.login(self.config["user"], self.config.get("password", ""))
            smtp.ehlo_or_helo_if_needed()
        except (smtplib.SMTPException, OSError, UnicodeError) as error:
            if smtp:
                smtp.close()
            raise _connect_error(error) from None
        self._smtp, self._used = smtp, False
        return smtp

    def load(self) -> None:
        trusted(SMTP)

    def probe(self) -> str:
        self._reset(self._begin(), 250)
        return ""

    def _drop(self) -> None:
        smtp, self._smtp, self._used = self._smtp, None, False
        if smtp:
            smtp.close()

    def close(self) -> None:
        smtp, self._smtp, self._used = self._smtp, None, False
        if smtp:
            try:
                smtp.quit()
            except (smtplib.SMTPException, OSError):
                smtp.close()


def _stuffed(data: bytes) -> bytes:
    """A message as DATA wants it: dots doubled at the start of a line, and the final one (RFC 5321, 4.5.2)."""
    if not data:
        return b""
    first = b"." if data.startswith(b".") else b""
    return first + data.replace(b"\r\n.", b"\r\n..") + b".\r\n"


def _classify(code: int, text: str) -> DeliveryError:
    """A reply code and its text, in our four words."""
    found = ENHANCED.search(text)
    name = f"{code} {found[1]}" if found else str(code)
    text = text.removeprefix(found[1]).lstrip() if found else text
    if code == 421 or (400 <= code < 500 and SLOW_DOWN.search(text)):
        return Throttled(name, text)
    if code < 500:  # also what is no reply code at all
        return Transient(name, text)
    gone = found[1] in BAD_ADDRESS if found else code in (550, 551, 553) and bool(UNKNOWN_USER.search(text))
    return Permanent(name, text, bad_address=gone)


def _connect_error(error: Exception) -> DeliveryError:
    if isinstance(error, UnicodeError):
        return Permanent("bad-credentials", _("This server takes user names and passwords of plain ASCII only."))
    if isinstance(error, ssl.SSLCertVerificationError):
        return Permanent("certificate", error.verify_message)
    if isinstance(error, smtplib.SMTPResponseException):
        text = error.smtp_error
        return _classify(error.smtp_code, text.decode("utf-8", "replace") if isinstance(text, bytes) else text)
    if isinstance(error, smtplib.SMTPException) and not isinstance(error, smtplib.SMTPServerDisconnected):
        return Permanent("not-supported", _text(error))  # no STARTTLS, no AUTH, or no method in common
    return Transient("no-connection", _text(error))


def _text(error: Exception) -> str:
    return str(error) or type(error).__name__
