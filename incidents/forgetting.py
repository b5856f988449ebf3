"""What incidents hold of a recipient, for channels.erasing."""

from channels.models import Recipient

from .models import ApiAnswer, SubscriberImport, SubscriptionRequest
from .models.subscription_request import default_wanted


def erase(person: Recipient) -> None:
    """Subscriptions go with the recipient. The proof of consent keeps its hash; uploaded files are emptied."""
    asked = SubscriptionRequest.objects.filter(medium=person.medium, address_hash=person.address_hash)
    asked.filter(confirmed_at__isnull=True).delete()
    asked.update(address="", domain="", ip_hash="", detail="", wanted=default_wanted())
    # They are packed, so whether the address is in one is not known; an upload is quickly repeated.
    SubscriberImport.objects.exclude(content=b"").update(content=b"")
    # What a program was told when it added them; asked again it would make them anew, were they not stopped.
    ApiAnswer.objects.filter(about=f"recipient:{person.pk}").update(body={})
