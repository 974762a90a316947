"""The program that speaks: a process of its own, which loads espeak-ng and nothing of this package.

    python espeak_worker.py LIBRARY [DATA]

It first says who it is, then answers each line of JSON on its input, {"text", "voice", "speed", "seed"}, with what it
spoke. An answer is a status (0: well; 1: the text after it says what is wrong), a length, and so many bytes; both
numbers are little-endian, 4 bytes. Spoken are 16-bit numbers, one channel.

The synthesiser remembers what it said before, and says the same words differently after other words. So each text is
spoken in a fork that has said nothing yet, with the library's random numbers seeded. Where there is no fork, the
caller starts a new process for every text.

espeak-ng is free software under the GNU General Public License, version 3 or later; it is no part of this project.
"""

import ctypes
import json
import os
import struct
import sys

SYNCHRONOUS, UTF8, SPEED = 2, 1, 1  # of the enumerations in espeak-ng's speak_lib.h
CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)


def main(library: str, data: str | None = None) -> None:
    espeak = ctypes.CDLL(library)
    espeak.espeak_Info.restype = ctypes.c_char_p
    rate = espeak.espeak_Initialize(SYNCHRONOUS, 0, data.encode() if data else None, 0)
    if rate <= 0:
        answer(1, f"{library} does not start: its data was not found, or is of another version".encode())
        return
    place = ctypes.c_char_p()
    version = espeak.espeak_Info(ctypes.byref(place)).decode()
    variants = os.path.join(place.value.decode(), "voices", "!v")
    voices = sorted(os.listdir(variants)) if os.path.isdir(variants) else []
    answer(0, json.dumps({"version": version, "rate": rate, "voices": voices}).encode())
    for line in sys.stdin.buffer:
        answer(
            *in_a_fork(espeak, json.loads(line)) if hasattr(os, "fork") else speak(espeak, json.loads(line))
        )


def speak(espeak: ctypes.CDLL, request: dict) -> tuple[int, bytes]:
    """Status and samples of one text."""
    spoken = bytearray()

    def hear(samples: int, count: int, events: int) -> int:
        if samples and count > 0:
            spoken.extend(ctypes.string_at(samples, 2 * count))
        return 0  # go on

    callback = CALLBACK(hear)
    espeak.espeak_SetSynthCallback(callback)
    if espeak.espeak_SetVoiceByName(request["voice"].encode()) != 0:
        return 1, f"espeak-ng has no voice {request['voice']!r}".encode()
    espeak.espeak_SetParameter(SPEED, request["speed"], 0)
    seed(espeak, request["seed"])
    text = request["text"].encode() + b"\0"
    if espeak.espeak_Synth(text, ctypes.c_size_t(len(text)), 0, 1, 0, UTF8, None, None) != 0:
        return 1, f"espeak-ng could not speak {request['text']!r}".encode()
    espeak.espeak_Synchronize()
    return 0, bytes(spoken)


def seed(espeak: ctypes.CDLL, number: int) -> None:
    """Until version 1.51 breath is made of the C library's random numbers, later of espeak-ng's own."""
    if hasattr(espeak, "espeak_ng_SetRandSeed"):
        espeak.espeak_ng_SetRandSeed(ctypes.c_long(number))
    else:
        ctypes.CDLL(None).srand(ctypes.c_uint(number))


def in_a_fork(espeak: ctypes.CDLL, request: dict) -> tuple[int, bytes]:
    """What `speak` gives in a child of this process, which itself stays as it was."""
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(receive)
            with os.fdopen(send, "wb") as pipe:
                status, spoken = speak(espeak, request)
                pipe.write(bytes([status]) + spoken)
        finally:
            os._exit(0)  # none of the parent's clean-up, which would write its buffers twice
    os.close(send)
    with os.fdopen(receive, "rb") as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return (said[0], said[1:]) if said else (1, f"espeak-ng broke down at {request['text']!r}".encode())


def answer(status: int, content: bytes) -> None:
    sys.stdout.buffer.write(struct.pack("<II", status, len(content)) + content)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
