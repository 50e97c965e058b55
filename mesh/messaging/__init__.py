"""What services say to each other: letters to one member, broadcasts to all, questions with replies."""

from mesh.messaging.events import Arrived, Fate, Posted, Progress
from mesh.messaging.inbox import Incoming, Subscription
from mesh.messaging.messages import MAX_TOPIC_BYTES, WHY_CHARACTERS
from mesh.messaging.messaging import BROADCAST_BYTES, Messaging
from mesh.messaging.questions import MAX_ASKED, Answer, Asked

__all__ = [
    "BROADCAST_BYTES",
    "MAX_ASKED",
    "MAX_TOPIC_BYTES",
    "WHY_CHARACTERS",
    "Answer",
    "Arrived",
    "Asked",
    "Fate",
    "Incoming",
    "Messaging",
    "Posted",
    "Progress",
    "Subscription",
]
