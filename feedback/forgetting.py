"""What feedback holds of a recipient, for channels.erasing."""

from channels.models import Recipient

from .models import SurveyAnswer, UpdateVote


def erase(person: Recipient) -> None:
    """The scores stay, of nobody; what they wrote goes. Of what was answered anonymously nobody knows whose it is."""
    SurveyAnswer.objects.filter(recipient=person).update(recipient=None, texts={}, fixed_at=None)
    UpdateVote.objects.filter(recipient=person).update(recipient=None)
