"""Phone calls through AWS End User Messaging: one SendVoiceMessage a recipient reads the words aloud."""

import re
from typing import Any
from xml.sax.saxutils import escape

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from channels.errors import Permanent

from . import eum
from .base import Addressee, Capabilities, Message, personalise

MAX_SSML = 6000  # characters of SSML, tags and entities included
PAUSE = '<break time="600ms"/>'
SENTENCE_END = re.compile(r"(?<=[.!?…])\s+|\s*\n\s*")
# Language → its voices, of those that SendVoiceMessage knows. The first one speaks unless another is chosen.
VOICES = {
    "en": [
        "AMY",
        "BRIAN",
        "EMMA",
        "GERAINT",
        "IVY",
        "JOANNA",
        "JOEY",
        "JUSTIN",
        "KENDRA",
        "KIMBERLY",
        "MATTHEW",
        "NICOLE",
        "RAVEENA",
        "RUSSELL",
        "SALLI",
    ],
    "it": ["BIANCA", "CARLA", "GIORGIO"],
}


def _choices(locale: str) -> list[tuple[str, str]]:
    return [(voice, voice.capitalize()) for voice in VOICES[locale]]


class EumVoiceForm(eum.EumForm):
    origination_identity = forms.RegexField(
        eum.IDENTITY,
        label=gettext_lazy("Calls from"),
        help_text=gettext_lazy("Phone number or pool that can place calls, by number, ID or ARN."),
    )
    voice_en = forms.ChoiceField(label=gettext_lazy("Voice in English"), choices=_choices("en"), initial="AMY")
    voice_it = forms.ChoiceField(label=gettext_lazy("Voice in Italian"), choices=_choices("it"), initial="BIANCA")
    time_to_live = forms.IntegerField(
        label=gettext_lazy("Seconds to keep trying"),
        min_value=5,
        max_value=259200,
        initial=3600,
        help_text=gettext_lazy("A call that AWS could not place by then is given up."),
    )
    max_price_per_minute = forms.RegexField(
        eum.PRICE,
        label=gettext_lazy("Highest price of a minute"),
        required=False,
        help_text=gettext_lazy("Optional, in US dollars with a point, as in 0.20. Dearer calls are not placed."),
    )
    field_order = ["origination_identity", "voice_en", "voice_it", "time_to_live", "configuration_set"]


class EumVoice(eum.Eum):
    label = gettext_lazy("Phone call: AWS End User Messaging")
    capabilities = Capabilities(form="voice", medium="voice", receipts=True)
    config_form = EumVoiceForm
    operation = "send_voice_message"

    def request(self, message: Message, one: Addressee) -> dict[str, Any]:
        chosen = {
            "ConfigurationSetName": self.config.get("configuration_set"),
            "MaxPricePerMinute": self.config.get("max_price_per_minute"),
            "TimeToLive": self.config.get("time_to_live"),
        }
        return {
            "DestinationPhoneNumber": one.address,
            "OriginationIdentity": self.config["origination_identity"],
            "MessageBody": _ssml(personalise(message.parts["text"], one.values)),
            "MessageBodyTextType": "SSML",
            "VoiceId": self._voice(message.locale),
            "Context": self.context(message, one),
            **{name: value for name, value in chosen.items() if value},
        }

    def _voice(self, locale: str) -> str:
        language = locale.partition("-")[0]
        if language not in VOICES:  # a voice of another language would read these words wrong
            said = _("There is no voice for the language “%s”; choose another channel for it.")
            raise Permanent("no-voice", said % locale)
        return self.config.get(f"voice_{language}") or VOICES[language][0]


def _ssml(text: str) -> str:
    """The words as SSML, with a pause after each sentence. Raises Permanent if they are none or too many."""
    if not text.strip():
        raise Permanent("bad-length", _("There are no words to read aloud; write some."))
    sentences = (escape(one, {'"': "&quot;", "'": "&apos;"}) for one in SENTENCE_END.split(text.strip()))
    ssml = f"<speak>{PAUSE.join(sentences)}</speak>"
    if len(ssml) > MAX_SSML:
        said = _("The call has %(length)d characters with its pauses; AWS reads at most %(limit)d. Shorten the text.")
        raise Permanent("too-long", said % {"length": len(ssml), "limit": MAX_SSML})
    return ssml
