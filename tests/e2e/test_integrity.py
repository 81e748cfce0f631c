# SPDX-License-Identifier: MIT
"""What is sent arrives, whole and once, in both directions, whatever the link and the ends do.

`guest` is a namespace on a tap, then one on a stream link. Outbound connections go to the gateway's
address, which is the host's loopback; inbound ones come through a forward.
"""

import socket
import struct
import time

import pytest

from netctltest import xfer
from netctltest.namespace import StreamGuest, TapGuest
from netctltest.process import SANITIZED, SLOW, quickest
from netctltest.servers import free_port

MiB = 1024 * 1024
GiB = 1024 * MiB
BIG = 64 * MiB if SANITIZED else GiB
SPOILED = 8 * MiB if SANITIZED else 64 * MiB


class Pair:
    """Runs one xfer that listens and one that connects, on either side of the data plane."""

    def __init__(self, daemon, guest):
        self.directory = daemon.directory
        self.guest = guest

    def out(self, client, server, count=1, timeout=120):
        """The guest connects to the host. Returns the reports of guest and host."""
        listener = xfer.Listener(self.directory, "--count", count, *server)
        here = xfer.connect(self.directory, self.guest.gateway, listener.port, "--count", count,
                            *client, guest=self.guest, timeout=timeout)
        return here, listener.results(timeout)

    def into(self, client, server, count=1, timeout=120):
        """The host connects to the guest. Returns the reports of host and guest."""
        listener = xfer.Listener(self.directory, "--count", count, *server, guest=self.guest)
        port = self.guest.forward("tcp:0:%d" % listener.port)
        here = xfer.connect(self.directory, "127.0.0.1", port, "--count", count, *client,
                            timeout=timeout)
        return here, listener.results(timeout)


@pytest.fixture
def pair(daemon, guest):
    return Pair(daemon, guest)


def both_ways(pair, client, server, **options):
    """The same with the guest as client and with the host as client."""
    yield pair.out(client, server, **options)
    yield pair.into(client, server, **options)


# --- plain ---------------------------------------------------------------------------------------

@pytest.mark.big
def test_gigabyte_from_guest(pair):
    xfer.both_same(*pair.out(["--send", BIG], [], timeout=180))


@pytest.mark.big
def test_gigabyte_to_guest(pair):
    xfer.both_same(*pair.into(["--send", BIG], [], timeout=180))


def test_both_directions_at_once(pair):
    for client, server in both_ways(pair, ["--send", 100 * MiB // SLOW], ["--send", 90 * MiB // SLOW]):
        xfer.both_same(client, server)


def test_echo(pair):
    for client, server in both_ways(pair, ["--send", 20 * MiB, "--seed", 5], ["--echo"]):
        xfer.both_same(client, server)
        assert client[0]["rx_hash"] == client[0]["tx_hash"]


def test_empty_and_tiny(pair):
    for size in (0, 1, 7, 8, 1459, 1460, 1461, 65535, 65536):
        xfer.both_same(*pair.out(["--send", size], ["--send", size]))


def test_200_parallel_of_random_sizes(pair):
    for client, server in both_ways(pair, ["--send", 2 * MiB, "--random", "--seed", 1000],
                                    ["--send", MiB, "--random", "--seed", 5000], count=200):
        assert len(client) == len(server) == 200
        xfer.both_same(client, server)


# --- a link that spoils frames -------------------------------------------------------------------

@pytest.mark.big
def test_spoiled_from_guest(daemon, spoiled_guest):
    xfer.both_same(*Pair(daemon, spoiled_guest).out(["--send", SPOILED], [], timeout=240))


@pytest.mark.big
def test_spoiled_to_guest(daemon, spoiled_guest):
    xfer.both_same(*Pair(daemon, spoiled_guest).into(["--send", SPOILED], [], timeout=240))


def test_spoiled_parallel(daemon, spoiled_guest):
    client, server = Pair(daemon, spoiled_guest).out(
        ["--send", 256 * 1024, "--random"], ["--send", 256 * 1024, "--random"], count=50)
    assert len(client) == 50
    xfer.both_same(client, server)


# --- slow readers and zero windows ---------------------------------------------------------------

SLOW_READER = ["--rx-rate", 50000, "--rcvbuf", 16384]


def test_slow_reader_on_host(pair):
    xfer.both_same(*pair.out(["--send", 400 * 1000], SLOW_READER, timeout=60))


def test_slow_reader_in_guest(pair):
    xfer.both_same(*pair.into(["--send", 400 * 1000], SLOW_READER, timeout=60))


def test_slow_reader_holds_nobody_up(daemon, pair):
    """While one flow is read at 50 KB/s, another has the link."""
    slow = xfer.Listener(daemon.directory, *SLOW_READER)
    xfer.start(daemon.directory, pair.guest.gateway, slow.port, "--send", 50 * MiB, guest=pair.guest)
    time.sleep(0.5)
    began = time.monotonic()
    xfer.both_same(*pair.out(["--send", 50 * MiB], []))
    assert time.monotonic() - began < 10 * SLOW
    slow.stop()


@pytest.mark.parametrize("pause", [1000, 4000])
def test_zero_window_reopens(pair, pause):
    for client, server in both_ways(pair, ["--send", 8 * MiB], ["--rx-pause", pause, "--rcvbuf", 8192]):
        xfer.both_same(client, server)


# --- ends ----------------------------------------------------------------------------------------

def test_half_close_then_late_answer(pair):
    """The far end's answer, long after the FIN, arrives whole."""
    for client, server in both_ways(pair, ["--send", 100000], ["--answer", "--delay", 2500,
                                                               "--send", 5 * MiB]):
        xfer.both_same(client, server)


def test_half_close_by_the_far_end(pair):
    """The far end ends its stream first; ours goes on."""
    for client, server in both_ways(pair, ["--answer", "--delay", 1500, "--send", 5 * MiB],
                                    ["--send", 100000]):
        xfer.both_same(client, server)


def test_both_close_at_once(pair):
    for client, server in both_ways(pair, ["--send", 16], ["--send", 16], count=100):
        xfer.both_same(client, server)


def test_server_closes_first(pair):
    for client, server in both_ways(pair, ["--no-fin"], ["--send", 3 * MiB], count=20):
        xfer.same(server, client)


def test_reset_by_far_end(pair):
    for client, server in both_ways(pair, ["--send", 50 * MiB], ["--rst-rx", MiB]):
        assert server[0]["end"] == "aborted"
        assert client[0]["end"] == "reset", client


def test_reset_by_near_end(pair):
    for client, server in both_ways(pair, ["--send", 50 * MiB, "--rst-tx", MiB], []):
        assert client[0]["end"] == "aborted"
        assert server[0]["end"] == "reset", server


def test_reset_while_waiting(pair):
    """An end that only waits learns of the reset too."""
    # The server resets at once: for the guest maybe before its connection stood.
    client, server = pair.out(["--no-fin"], ["--rst-rx", 0])
    assert client[0]["end"] in ("reset", "refused"), client
    client, server = pair.into(["--no-fin"], ["--rst-rx", 0])
    assert client[0]["end"] == "reset", client


# --- refusals ------------------------------------------------------------------------------------

def test_refused_by_host(daemon, pair):
    found = [xfer.connect(daemon.directory, pair.guest.gateway, free_port(), guest=pair.guest)[0]
             for _ in range(5)]
    assert {f["end"] for f in found} == {"refused"}
    # The least, since a busy machine lengthens some and a timer in between all of them.
    assert min(f["connect_ms"] for f in found) < 50 * SLOW


def test_refused_by_guest(pair):
    """The client's kernel has shaken hands before the guest refuses: it sees a reset."""
    port = pair.guest.forward("tcp:0:9")

    def be_refused():
        with pytest.raises(ConnectionResetError):  # which may be there before connect() returns
            with socket.create_connection(("127.0.0.1", port), 5) as sock:
                assert sock.recv(1) != b"", "an orderly end instead of a reset"
    assert quickest(be_refused) < 0.2 * SLOW


def test_client_address_is_kept(daemon, guest):
    """From loopback a forwarded connection comes from the gateway, with a port of ours."""
    port = guest.forward("tcp:0:7001")
    guest.popen(["socat", "TCP4-LISTEN:7001,reuseaddr", "SYSTEM:echo $SOCAT_PEERADDR $SOCAT_PEERPORT"])
    for _ in range(50):
        try:
            with socket.create_connection(("127.0.0.1", port), 5) as sock:
                text = sock.makefile().read()
            if text:
                break
        except ConnectionResetError:
            pass
        time.sleep(0.1)
    peer, peer_port = text.split()
    assert peer == guest.gateway
    assert 61000 <= int(peer_port) <= 65535


@pytest.mark.parametrize("kind", [TapGuest, StreamGuest])
def test_guest_that_never_spoke_is_reached(daemon, kind):
    """A server with a fixed address may wait for its first client before it sends any frame."""
    guest = kind(daemon, silent=True)
    try:
        xfer.both_same(*Pair(daemon, guest).into(["--send", 1000], ["--send", 1000], timeout=10))
    finally:
        guest.close()


def test_linger_zero_is_a_reset_in_the_guest(daemon, guest):
    """A client that resets at once does not leave the guest's server waiting."""
    listener = xfer.Listener(daemon.directory, "--count", 1, guest=guest)
    port = guest.forward("tcp:0:%d" % listener.port)
    with socket.create_connection(("127.0.0.1", port), 5) as sock:
        sock.sendall(b"x" * 1000)
        time.sleep(0.3)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert listener.results(10)[0]["end"] == "reset"
