"""Frames recorded by earlier versions are decoded by this one (W8), and so are sealed datagrams and streams."""

from __future__ import annotations

import copy

from mesh.channel import Channel
from mesh.keyring import Keyring
from mesh.seal import Kind, Seal
from tests.mesh.golden_frames import differences, load_record, make_record

SECRET = "a secret of 32 bytes for the record"
SENDER, RECEIVER = b"sender's session", b"the receiver's s"


def test_every_recorded_frame_decodes_to_what_was_recorded() -> None:
    assert differences(load_record()) == []


def test_a_change_of_meaning_is_noticed() -> None:
    record = make_record()
    for frame, fields in (
        ("830107818314f650" + "00" * 16, {}),
        ("830107818219ffff00", {}),
        ("8301", {}),
        (None, {"sequence": 1}),
        (None, {"vanished": 1}),
    ):
        spoiled = copy.deepcopy(record)
        example = spoiled["Ping"]["examples"][0]
        example["frame"] = frame or example["frame"]
        example["fields"].update(fields)
        assert len(differences(spoiled)) == 1, example
    missing = {name: entry for name, entry in record.items() if name != "Ack"}
    assert differences(missing) == ["Ack (21) has no record"]


HEAD = "e27daa6373656e64657227732073657373696f6e"
"""Identifier of the secret, and the sender's session."""

DATAGRAMS = {
    Kind.PAIR: (b"plaintext", f"0101{HEAD}0000000000000001a0a1a2a3c98c1226d070a5a536025887011962a9324cc1087f58abd40a"),
    Kind.HELLO: (b"hello", f"0103{HEAD}0000000000000002a0a1a2a3540d9e1d42f393d9ecf1e24b08bcf279bd5589d41b"),
    Kind.COOKIE: (b"cookie", f"0104{HEAD}0000000000000003a0a1a2a3bd54da40c0a5ddf57505f35bfeb73b0515a19d110bf0"),
    Kind.PROOF: (b"proof", f"0102{HEAD}0000000000000004a0a1a2a3ae1e16db40bd752d7c38131bfcd17ac988439264a8"),
}

FROM_INITIATOR = (
    "544d5332e27daa6373656e64657227732073657373696f6e3131313131313131313131313131313131313131313131313131313131313131"
    "000000100eb8f5b49e214b8e9fa7f2c2721cc8a74cfd7a630000001f7ebe86b1bcf1d6192f7ed7a0da832dfff13180bb09b2ff8a87092833"
    "655d359e6eb280"
)
FROM_RESPONDER = (
    "544d5332e27daa63746865207265636569766572277320733232323232323232323232323232323232323232323232323232323232323232"
    "00000010d673283d52df0276722b69065cbdd9b854b5db2f000000183c95eeabac69cadc0421f542fe6d89951b630f19b6492b37f1f27388"
)


def test_recorded_datagrams_are_opened() -> None:
    """The header, the derivation of the keys and the nonces of the first version."""
    seal = Seal(Keyring([SECRET]), RECEIVER, bytes)
    seal.know(SENDER)
    for counter, (kind, (plaintext, recorded)) in enumerate(DATAGRAMS.items(), 1):
        assert seal.open(bytes.fromhex(recorded)) == (kind, SENDER, plaintext, True, counter)


def test_recorded_streams_are_read_from_both_ends() -> None:
    initiator = Channel(Keyring([SECRET]), SENDER, lambda count: b"1" * count, initiator=True)
    responder = Channel(Keyring([SECRET]), RECEIVER, lambda count: b"2" * count, initiator=False)
    opening = initiator.opening()
    assert responder.receive(bytes.fromhex(FROM_INITIATOR)) == [b"over the stream"]
    assert initiator.receive(bytes.fromhex(FROM_RESPONDER)) == [b"and back"]
    assert (opening + initiator.take() + initiator.seal(b"over the stream")).hex() == FROM_INITIATOR
    assert (responder.take() + responder.seal(b"and back")).hex() == FROM_RESPONDER
