"""Who is in the mesh, and how they are."""

from mesh.membership.events import Joined, JoinFailed, MemberChanged, MemberForgotten
from mesh.membership.identity import Identity, Tags
from mesh.membership.member import Member, State, join, supersedes
from mesh.membership.membership import Membership
from mesh.membership.profile import LAN, LOCAL, PROFILES, WAN, Profile

__all__ = [
    "LAN",
    "LOCAL",
    "PROFILES",
    "WAN",
    "Identity",
    "JoinFailed",
    "Joined",
    "Member",
    "MemberChanged",
    "MemberForgotten",
    "Membership",
    "Profile",
    "State",
    "Tags",
    "join",
    "supersedes",
]
