"""What is said to the hub on the worker's socket and on its outputs. The host judges what came of it."""

from __future__ import annotations

import array
import json
import os
import socket
import struct
import sys
import time

from attack import attack

SOCKET = 3
INVOKE, READY, UNLOADABLE, RESULT, ERROR = 1, 2, 3, 4, 5


def frame(kind, header, payload=b"", magic=b"TH", zero=0, lengths=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack(">2sBBII", magic, kind, zero, *(lengths or (len(text), len(payload)))) + text + payload


def say(data):
    view = memoryview(data)
    while view:
        view = view[os.write(SOCKET, view) :]


@attack("trusted", ends=True)
def answer_for_another(world):
    say(frame(RESULT, {"id": "another"}, b'"forged"'))
    time.sleep(0.2)


@attack("trusted", ends=True)
def answer_twice(world):
    say(frame(RESULT, {"id": world["request"]}, b'"first"'))


@attack("trusted", ends=True)
def answer_the_next_one_ahead(world):
    say(frame(RESULT, {"id": world["request"]}, b'"now"') + frame(RESULT, {"id": world["next"]}, b'"forged"'))
    time.sleep(0.2)


@attack("trusted", ends=True)
def say_that_it_is_ready_again(world):
    say(frame(READY, {}))
    time.sleep(0.2)


@attack("trusted", ends=True)
def say_that_it_cannot_be_loaded(world):
    say(frame(UNLOADABLE, {"type": "x", "message": "y"}))
    time.sleep(0.2)


@attack("trusted", ends=True)
def give_the_hub_an_order(world):
    say(frame(INVOKE, {"id": "x", "arn": "", "deadline": "0", "remaining": "0", "attempt": "1"}, b"1"))
    time.sleep(0.2)


@attack("trusted", ends=True)
def say_what_is_no_frame(world):
    say(os.urandom(4096))
    time.sleep(0.2)


@attack("trusted", ends=True)
def speak_another_kind(world):
    say(frame(77, {}))
    time.sleep(0.2)


@attack("trusted", ends=True)
def announce_four_gigabytes(world):
    say(frame(RESULT, b"", lengths=(2, 2**32 - 1)) + b"{}")
    time.sleep(0.2)


@attack("trusted", ends=True)
def announce_a_header_without_end(world):
    say(frame(RESULT, b"", lengths=(2**32 - 1, 0)) + b"[" * 100_000)
    time.sleep(0.2)


@attack("trusted", ends=True)
def nest_a_header_deep(world):
    say(frame(RESULT, b"[" * 60_000))
    time.sleep(0.2)


@attack("trusted", ends=True)
def name_a_key_twice(world):
    say(frame(RESULT, b'{"id":"%s","id":"another"}' % world["request"].encode(), b'"forged"'))
    time.sleep(0.2)


@attack("trusted", ends=True)
def flood_with_frames(world):
    block = frame(ERROR, {"id": "no"}, b"x") * 1000
    for _ in range(1000):
        say(block)


@attack("trusted", ends=True)
def begin_a_frame_and_wait(world):
    say(frame(RESULT, {"id": world["request"]}, b'"late"')[:-1])
    time.sleep(3600)


@attack("trusted", ends=True)
def close_the_socket_and_wait(world):
    os.close(SOCKET)
    time.sleep(3600)


@attack("trusted", ends=True)
def stop_speaking_and_wait(world):
    socket.socket(fileno=os.dup(SOCKET)).shutdown(socket.SHUT_WR)
    time.sleep(3600)


@attack("trusted", ends=True)
def leave_a_child_that_answers(world):
    if os.fork() == 0:
        time.sleep(0.3)
        say(frame(RESULT, {"id": world["next"]}, b'"forged"'))
        os._exit(0)


@attack("trusted", ends=True)
def pass_descriptors_to_the_hub(world):
    with socket.socket(fileno=os.dup(SOCKET)) as end:
        for _ in range(20):
            held = array.array("i", [os.open("/dev/null", os.O_RDONLY) for _ in range(40)])
            end.sendmsg([b"T"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, held)])
    time.sleep(0.2)


@attack("trusted", ends=True)
def answer_with_more_than_is_allowed(world):
    size = 7 * 1024 * 1024
    say(frame(RESULT, {"id": world["request"]}, b"x" * size))
    time.sleep(0.2)


@attack("trusted", ends=True)
def fail_with_lone_surrogates(world):
    header = b'{"id":"%s","type":"\\ud800","message":"\\udfff"}' % world["request"].encode()
    say(frame(ERROR, header, b"{}"))


@attack("trusted", ends=True)
def write_without_end(world):
    block = b"x" * 79 + b"\n"
    for _ in range(2000):
        os.write(1, block * 200)
    return


@attack("trusted", ends=True)
def write_empty_lines_without_end(world):
    for _ in range(64):
        os.write(1, b"\n" * 65536)


@attack("trusted", ends=True)
def write_one_line_without_end(world):
    for _ in range(256):
        os.write(1, b"x" * 65536)


@attack("trusted", ends=True)
def write_what_a_terminal_obeys(world):
    os.write(1, b"\x1b]0;owned\x07\x1b[2J\x1b[1;1H\x9b31m\x00\r\x08\x7f\xe2\x80\xae\xff\xc2\x9b31m\n")


@attack("trusted", ends=True)
def write_what_looks_like_the_hub_s_own(world):
    sys.stdout.write(f"END RequestId: {world['next']}\nREPORT RequestId: {world['next']}\tDuration: 1 ms\n")
