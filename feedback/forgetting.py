"""What feedback holds of a recipient, for channels.erasing."""

from channels.models import Recipient

from .models import SurveyAnswer


def erase(person: Recipient) -> None:
    """The scores stay, of nobody; what they wrote goes."""
    SurveyAnswer.objects.filter(recipient=person).update(recipient=None, comment="")
