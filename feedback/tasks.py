"""Entry points for the queue: running one twice is harmless."""

from .social import spikes, watching
from .social.models import SocialPost


def sweep_social() -> None:
    """What is said in public: ask the networks that are due, propose what it speaks for, forget what is old."""
    watching.watch_due()
    spikes.look()
    SocialPost.forget()
