# SPDX-License-Identifier: MIT
"""The vsock, whatever carries it: each test with a virtual machine over vhost-user, with a guest that speaks
packets over a stream, and with a VMM that owns the mux (netctltest/vsock_guests.py).

All tests of one transport share a guest, and so what an earlier one left behind would show in a later.
"""

import base64
import hashlib
import json
import os
import signal
import socket
import threading
import time

import pytest

from netctltest import xfer
from netctltest.daemon import NetctlError
from netctltest.process import SANITIZED, SLOW, wait_for
from netctltest.servers import free_port
from netctltest.vsock_guests import KINDS

MiB = 1024 * 1024
BIG = 64 * MiB if SANITIZED else 1024 * MiB
ENV = 1026
MANY = 1000
next_port = iter(range(5001, 9999))


@pytest.fixture(scope="module", params=list(KINDS))
def guest(request, shared_daemon):
    it = KINDS[request.param](shared_daemon)
    yield it
    it.close()


def skip_hybrid(guest, why):
    if guest.name == "hybrid":
        pytest.skip(why)


class Service:
    """An xfer on the host, at a unix socket or a TCP port, that a port of the host's vsock leads to."""

    def __init__(self, guest, *options, tcp=False):
        self.port = next(next_port)
        self.guest = guest
        if tcp:
            self.listener = xfer.Listener(guest.daemon.directory, *options)
            guest.map_tcp(self.port, self.listener.port)
        else:
            # Below the VM's own directory netctld finds it by itself, also when it has been started again.
            path = os.path.join(guest.daemon.runtime, "vms", guest.vm, "s%d" % self.port)
            self.listener = xfer.Listener(guest.daemon.directory, *options, addr="unix", port=path)
            guest.map_unix(self.port, path)
        self.results = self.listener.results


def out(guest, client, server, count=1, timeout=120, tcp=False):
    """The guest connects to a mapped port. Returns the reports of guest and host."""
    service = Service(guest, "--count", count, *server, tcp=tcp)
    here = guest.connect(service.port, "--count", count, *client, timeout=timeout)
    there = service.results(timeout)
    guest.unmap(service.port)
    return here, there


def into(guest, client, server, count=1, timeout=120):
    """The host connects to the guest by a forward. Returns the reports of host and guest."""
    port = next(next_port)
    listener = guest.listen(port, "--count", count, *server)
    forward = guest.forward("tcp:0:vsock:%d" % port)
    here = xfer.connect(guest.daemon.directory, "127.0.0.1", forward, "--count", count, *client,
                        timeout=timeout)
    there = listener.results(timeout)
    guest.daemon.netctl("forward", "delete", guest.vm, "tcp:127.0.0.1:%d" % forward)
    return here, there


def both_ways(guest, client, server, **options):
    yield out(guest, client, server, **options)
    yield into(guest, client, server, **options)


def vsock_connections(guest):
    return guest.daemon.ask("GET", "/v1/vms/%s/stats" % guest.vm)["flows"]["vsock"]


def all_gone(guest):
    wait_for(lambda: vsock_connections(guest) == 0, 10, "no connection is left")


# --- env -----------------------------------------------------------------------------------------

def test_env_is_read(guest):
    assert json.loads(guest.read(ENV)) == {"env": {}, "secrets": {}}
    guest.daemon.netctl("env", "set", guest.vm, "GREETING=hello", "EMPTY=")
    guest.daemon.api("PUT", "/v1/vms/%s/secrets/token" % guest.vm, b"open sesame")
    assert json.loads(guest.read(ENV)) == {"env": {"GREETING": "hello", "EMPTY": ""},
                                           "secrets": {"token": "open sesame"}}


def test_env_changes_are_seen_by_the_next_read(guest):
    for value in ("one", "two"):
        guest.daemon.netctl("env", "set", guest.vm, "GREETING=" + value)
        assert json.loads(guest.read(ENV))["env"]["GREETING"] == value


def test_env_of_a_megabyte(guest):
    """More than any window."""
    env = {"K%d" % i: "x%d" % i * 8000 for i in range(20)}
    guest.daemon.ask("PUT", "/v1/vms/%s/env" % guest.vm, env)
    if guest.name == "vhost":
        text = guest.machine.sh("socat -u VSOCK-CONNECT:2:1026 - >/tmp/env; wc -c </tmp/env; sha256sum </tmp/env")
        size, digest = text.split()[:2]
        assert int(size) > sum(map(len, env.values()))
        assert guest.machine.sh("socat -u VSOCK-CONNECT:2:1026 - | sha256sum").split()[0] == digest
        # What JSON it is can be told from its size: the same document as over the other transports.
        assert int(size) == len(json.dumps({"env": env, "secrets": {"token": "open sesame"}},
                                           separators=(",", ":")))
    else:
        assert json.loads(guest.read(ENV))["env"] == env
    guest.daemon.ask("PUT", "/v1/vms/%s/env" % guest.vm, {})


# --- bytes ---------------------------------------------------------------------------------------

@pytest.mark.big
def test_gigabyte_from_guest(guest):
    xfer.both_same(*out(guest, ["--send", BIG], [], timeout=180))


@pytest.mark.big
def test_gigabyte_to_guest(guest):
    xfer.both_same(*into(guest, ["--send", BIG], [], timeout=180))


def test_both_directions_at_once(guest):
    for one, other in both_ways(guest, ["--send", 30 * MiB // SLOW], ["--send", 25 * MiB // SLOW]):
        xfer.both_same(one, other)


def test_empty_and_tiny(guest):
    for size in (0, 1, 4096, 65537):
        xfer.both_same(*out(guest, ["--send", size], ["--send", size]))


def test_fifty_of_random_sizes(guest):
    for one, other in both_ways(guest, ["--send", MiB // SLOW, "--random", "--seed", 100],
                                ["--send", MiB // SLOW, "--random", "--seed", 500], count=50):
        assert len(one) == len(other) == 50
        xfer.both_same(one, other)


def test_half_close_then_late_answer(guest):
    for one, other in both_ways(guest, ["--send", 100000], ["--answer", "--delay", 1000, "--send", MiB]):
        xfer.both_same(one, other)


def test_half_close_by_the_far_end(guest):
    for one, other in both_ways(guest, ["--answer", "--delay", 1000, "--send", MiB], ["--send", 100000]):
        xfer.both_same(one, other)


def test_slow_reader_on_the_host(guest):
    """Credit is real: the guest has to wait, nothing is lost."""
    xfer.both_same(*out(guest, ["--send", 3 * MiB], ["--rx-rate", MiB, "--rcvbuf", 16384], tcp=True))


def test_slow_reader_in_the_guest(guest):
    xfer.both_same(*into(guest, ["--send", 3 * MiB], ["--rx-rate", MiB]))


def test_one_that_does_not_read_holds_nobody_up(guest):
    """While a destination takes nothing, others have the vsock."""
    with socket.create_server(("127.0.0.1", 0)) as stuck:
        port = next(next_port)
        guest.map_tcp(port, stuck.getsockname()[1])
        guest.start(port, "--send", 50 * MiB, "--timeout", 60)
        client, _ = stuck.accept()
        with client:
            time.sleep(0.5)
            for one, other in both_ways(guest, ["--send", 5 * MiB], ["--send", MiB]):
                xfer.both_same(one, other)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        guest.unmap(port)
    all_gone(guest)


def at_once(guest, run):
    """Runs 1,000 connections of which each waits until all are there. Returns how many there were."""
    most = [0]
    over = threading.Event()

    def watch():
        while not over.wait(0.2):
            most[0] = max(most[0], vsock_connections(guest))
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        one, other = run()
    finally:
        over.set()
        watcher.join()
    assert len(one) == len(other) == MANY
    xfer.both_same(one, other)
    return most[0]


def patience(guest):
    """ms in which a thousand connections come about."""
    return (6000 if guest.name == "vhost" else 2500) * SLOW


def thousand_at_once(guest, way):
    """A machine on which they take longer to come about than the first of them waits has another try."""
    for times in (1, 3):
        client = ["--send", 1000, "--delay", times * patience(guest)]
        most = at_once(guest, lambda: way(guest, client, ["--send", 2000, "--answer"], count=MANY))
        all_gone(guest)
        if most >= MANY:
            return
    raise AssertionError("at most %d at once" % most)


def test_thousand_from_the_guest(guest):
    thousand_at_once(guest, out)


def test_thousand_to_the_guest(guest):
    thousand_at_once(guest, into)


# --- from the guest ------------------------------------------------------------------------------

def test_mapped_tcp_address(guest):
    xfer.both_same(*out(guest, ["--send", MiB], ["--send", MiB], tcp=True))


def test_unmapped_is_refused(guest):
    port = next(next_port)
    assert guest.refused(port)
    path = os.path.join(guest.daemon.directory, "m%d" % port)
    listener = xfer.Listener(guest.daemon.directory, "--count", 0, "--echo", addr="unix", port=path)
    guest.map_unix(port, path)  # where only the caller of netctl may have access
    items = guest.daemon.netctl("vsock", "list", guest.vm)["items"]
    assert [i["to"] for i in items if i["port"] == port] == [{"unix": path}]
    assert guest.connect(port, "--send", 1000)[0]["rx"] == 1000
    guest.unmap(port)
    assert guest.refused(port)
    listener.stop()


def test_mapped_to_nobody_is_refused(guest):
    port = next(next_port)
    guest.map_tcp(port, free_port())
    assert guest.refused(port)
    guest.unmap(port)
    port = next(next_port)
    guest.map_unix(port, os.path.join(guest.daemon.directory, "nobody"))
    assert guest.refused(port)
    guest.unmap(port)


@pytest.mark.parametrize("port", [620, ENV])
def test_ports_of_our_own_cannot_be_mapped(guest, port):
    with pytest.raises(NetctlError) as failure:
        guest.map_unix(port, "/tmp/anything")
    assert str(port) in failure.value.text


def test_socket_beside_the_hybrid_socket(guest):
    """Firecracker's convention: whoever listens at vsock.sock_PORT gets the guest's connections to PORT."""
    skip_hybrid(guest, "the VMM itself looks there")
    port = next(next_port)
    path = "%s_%d" % (guest.host_socket(), port)
    assert guest.refused(port)
    listener = xfer.Listener(guest.daemon.directory, "--count", 1, "--send", MiB, addr="unix", port=path)
    here = guest.connect(port, "--send", MiB)
    xfer.both_same(here, listener.results())
    os.unlink(path)
    assert guest.refused(port)


# --- to the guest --------------------------------------------------------------------------------

def host_connect(guest, port):
    """CONNECT PORT on the hybrid socket. Returns (socket, the line that came back)."""
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(10 * SLOW)
    sock.connect(guest.host_socket())
    sock.sendall(b"CONNECT %d\n" % port)
    line = b""
    while not line.endswith(b"\n"):
        try:
            byte = sock.recv(1)
        except ConnectionResetError:
            byte = b""
        if not byte:
            break
        line += byte
    return sock, line


def echoes(sock, data, prefix=b""):
    """Sends, ends, and gets the same back (behind a prefix that was sent before)."""
    threading.Thread(target=lambda: (sock.sendall(data), sock.shutdown(socket.SHUT_WR)), daemon=True).start()
    sock.settimeout(20 * SLOW)
    got = b""
    while True:
        more = sock.recv(65536)
        if not more:
            break
        got += more
    return hashlib.sha256(got).digest() == hashlib.sha256(prefix + data).digest()


@pytest.fixture(scope="module")
def echo(guest):
    """The guest's port of a program that sends back what it gets."""
    port = next(next_port)
    guest.listen(port, "--count", 0, "--echo", "--timeout", 6000)
    return port


DATA = os.urandom(MiB)


def test_hybrid_socket(guest, echo):
    skip_hybrid(guest, "it is the VMM's")
    sock, line = host_connect(guest, echo)
    with sock:
        word, port = line.split()
        assert word == b"OK" and int(port) > 0
        assert echoes(sock, DATA)
    for _ in range(20):
        sock, line = host_connect(guest, echo)
        assert line.startswith(b"OK")
        sock.close()
    all_gone(guest)


def test_hybrid_socket_where_nobody_listens(guest):
    skip_hybrid(guest, "it is the VMM's")
    began = time.monotonic()
    sock, line = host_connect(guest, next(next_port))
    with sock:
        assert line == b""
    assert time.monotonic() - began < 2 * SLOW


@pytest.mark.parametrize("line", [b"HELLO\n", b"CONNECT\n", b"CONNECT x\n", b"CONNECT 4294967296\n",
                                  b"CONNECT -1\n", b"x" * 4096, b"CONNECT 1 2\n"])
def test_hybrid_socket_gets_no_line_of_sense(guest, line):
    skip_hybrid(guest, "it is the VMM's")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(10 * SLOW)
        sock.connect(guest.host_socket())
        sock.sendall(line)
        try:
            assert not sock.recv(100).startswith(b"OK")
        except ConnectionResetError:
            pass


def test_forward_from_a_unix_socket(guest, echo):
    path = os.path.join(guest.daemon.directory, "f%d" % echo)
    guest.forward("unix:%s:vsock:%d" % (path, echo))
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(path)
        assert echoes(sock, DATA)
    guest.daemon.netctl("forward", "delete", guest.vm, "unix:" + path)


def test_forward_where_nobody_listens(guest):
    port = guest.forward("tcp:0:vsock:%d" % next(next_port))
    with pytest.raises(ConnectionResetError):
        with socket.create_connection(("127.0.0.1", port), 5) as sock:
            assert sock.recv(1) != b"", "an orderly end instead of a reset"


def attach(guest, to, prefix):
    """Hands one end of a TCP connection to the guest. Returns (the other end, the answer)."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        mine = socket.create_connection(server.getsockname(), 5)
        theirs, _ = server.accept()
    with theirs:
        answer = guest.daemon.attach().ask({"op": "stream", "vm": guest.vm, "to": to,
                                            "prefix": base64.b64encode(prefix).decode()}, [theirs.fileno()])
    return mine, answer


def test_attach_with_a_prefix(guest, echo):
    prefix = b"GET / HTTP/1.1\r\n" + os.urandom(5000)
    sock, answer = attach(guest, "vsock:%d" % echo, prefix)
    with sock:
        assert answer["ok"], answer
        assert echoes(sock, DATA, prefix)


def test_attach_where_nobody_listens(guest):
    sock, answer = attach(guest, "vsock:%d" % next(next_port), b"lost")
    with sock:
        assert answer["ok"] is False and answer["title"], answer
        with pytest.raises(ConnectionResetError):
            sock.settimeout(5 * SLOW)
            if sock.recv(1) == b"":
                raise AssertionError("an orderly end instead of a reset")


# --- resets --------------------------------------------------------------------------------------

def test_reset_by_the_host(guest):
    """The guest does not take it for an end: it can send no more."""
    one, other = out(guest, ["--send", 50 * MiB], ["--rst-rx", MiB], tcp=True)
    assert other[0]["end"] == "aborted"
    assert one[0]["end"] == "reset", one
    all_gone(guest)


def test_reset_by_a_client_of_a_forward(guest):
    one, other = into(guest, ["--send", 50 * MiB, "--rst-tx", MiB], [])
    assert one[0]["end"] == "aborted"
    if guest.tells_reset:
        assert other[0]["end"] == "reset", other
    all_gone(guest)


def test_reset_by_the_guest(guest):
    if guest.name != "stream":
        pytest.skip("Linux cannot send one, nor can a VMM by a unix socket")
    one, other = into(guest, ["--send", 50 * MiB], ["--rst-rx", MiB])
    assert other[0]["end"] == "aborted"
    assert one[0]["end"] == "reset", one
    all_gone(guest)


# --- deaths --------------------------------------------------------------------------------------

def test_worker_killed(guest, echo):
    """Old connections are reset at both ends, new ones work; QEMU has seen nothing, others connect again."""
    daemon = guest.daemon
    unread = Service(guest, "--count", 1, tcp=True)
    upload = guest.start(unread.port, "--send", 2000 * MiB, "--tx-rate", 20 * MiB)
    waits = Service(guest, "--count", 1, "--no-fin", tcp=True)
    waiting = guest.start(waits.port, "--no-fin")
    forward = guest.forward("tcp:0:vsock:%d" % echo)
    client = xfer.start(daemon.directory, "127.0.0.1", forward, "--send", 2000 * MiB, "--tx-rate", 20 * MiB)
    wait_for(lambda: vsock_connections(guest) >= 3, 10, "all connections stand")
    time.sleep(1)
    if guest.name == "vhost":
        guest.machine.sh("echo was here >/tmp/mark")
    before = daemon.vm(guest.vm)["worker"]
    os.kill(before["pid"], signal.SIGKILL)
    assert unread.results(20)[0]["end"] == "reset"
    assert waits.results(20)[0]["end"] == "reset"
    client.wait(20)
    assert xfer.parse(client.log())[0]["end"] == "reset", client.log()
    assert upload.results(20)[0]["end"] == "reset"
    ended = waiting.results(20)[0]
    assert ended["end"] == "reset" or not guest.tells_reset, ended
    with socket.create_connection(("127.0.0.1", forward), 5) as sock:
        assert echoes(sock, DATA)
    xfer.both_same(*out(guest, ["--send", 5 * MiB], ["--send", 5 * MiB]))
    after = daemon.vm(guest.vm)
    assert after["worker"]["pid"] != before["pid"]
    assert after["worker"]["restarts"] == before["restarts"] + 1
    if guest.name == "vhost":
        assert guest.machine.qemu.running()
        assert guest.machine.sh("cat /tmp/mark") == "was here\n"
    all_gone(guest)


def test_worker_killed_again_and_again(guest, echo):
    """Under traffic, with the queues in any state."""
    daemon = guest.daemon
    forward = guest.forward("tcp:0:vsock:%d" % echo)
    for round_ in range(4):
        clients = [xfer.start(daemon.directory, "127.0.0.1", forward, "--send", 500 * MiB) for _ in range(3)]
        wait_for(lambda: vsock_connections(guest) >= 3, 10, "all connections stand")
        time.sleep(0.1 + 0.07 * round_)
        old = daemon.worker_pid(guest.vm)
        os.kill(old, signal.SIGKILL)
        for client in clients:
            client.wait(20)
            assert xfer.parse(client.log())[0]["end"] == "reset", client.log()
        wait_for(lambda: daemon.worker_pid(guest.vm) != old, 5, "a new worker")
        with socket.create_connection(("127.0.0.1", forward), 5) as sock:
            assert echoes(sock, DATA)
    assert guest.connect(ENV, "--idle", 10)[0]["end"] == "eof"


def maps_of(guest):
    """Without what a handed directory's loss says: those have to be handed over again."""
    return [(m["port"], m["to"]) for m in guest.daemon.netctl("vsock", "list", guest.vm)["items"]]


def test_netctld_killed(guest, echo):
    """Connections go on, the listeners accept, what maps and forwards there are is in the store."""
    daemon = guest.daemon
    worker = daemon.worker_pid(guest.vm)
    service = Service(guest, "--count", 1)
    transfer = guest.start(service.port, "--send", 30 * MiB, "--tx-rate", 10 * MiB)
    forward = guest.forward("tcp:0:vsock:%d" % echo)
    client = xfer.start(daemon.directory, "127.0.0.1", forward, "--send", 30 * MiB, "--tx-rate", 10 * MiB)
    wait_for(lambda: vsock_connections(guest) >= 2, 10, "the connections stand")
    maps = maps_of(guest)
    daemon.ask("PUT", "/v1/vms/%s/env" % guest.vm, {"STILL": "here"})
    daemon.kill()
    if guest.name != "hybrid":  # where netctld is asked for the connection to the VMM
        with socket.create_connection(("127.0.0.1", forward), 5) as sock:
            assert echoes(sock, DATA)
    daemon.start()
    assert daemon.worker_pid(guest.vm) == worker, "the worker was not adopted again"
    if guest.name == "hybrid":
        guest.hand_over()
    assert client.wait(60) == 0, client.log()
    xfer.both_same(transfer.results(60), service.results())
    assert maps_of(guest) == maps
    assert daemon.vm(guest.vm)["vsock"]["connected"] is (None if guest.name == "hybrid" else True)
    with socket.create_connection(("127.0.0.1", forward), 5) as sock:
        assert echoes(sock, DATA)
    xfer.both_same(*out(guest, ["--send", MiB], ["--send", MiB]))
    assert json.loads(guest.read(ENV))["env"] == {"STILL": "here"}
    daemon.netctl("forward", "delete", guest.vm, "tcp:127.0.0.1:%d" % forward)


def test_vmm_comes_again(guest, echo):
    """A disconnect resets the vsock; forwards and maps stay."""
    if guest.name != "stream":
        pytest.skip("QEMU cannot, a hybrid VMM has no connection")
    service = Service(guest, "--count", 1, "--no-fin", tcp=True)
    waiting = guest.start(service.port, "--no-fin")
    wait_for(lambda: vsock_connections(guest) >= 1, 10, "the connection stands")
    forward = guest.forward("tcp:0:vsock:%d" % echo)
    guest.peer.disconnect()
    assert service.results(10)[0]["end"] == "reset"
    assert waiting.results(10)[0]["end"] == "reset"
    wait_for(lambda: not guest.daemon.vm(guest.vm)["vsock"]["connected"], 5, "the VMM has gone")
    guest.peer.connect()
    with socket.create_connection(("127.0.0.1", forward), 5) as sock:
        assert echoes(sock, DATA)
    xfer.both_same(*out(guest, ["--send", MiB], ["--send", MiB]))


def test_second_vmm_is_turned_away(guest, echo):
    if guest.name != "stream":
        pytest.skip("QEMU would not start, a hybrid VMM has no connection")
    with socket.socket(socket.AF_UNIX) as second:
        second.settimeout(5 * SLOW)
        second.connect(guest.path)
        try:
            assert second.recv(1) == b""
        except ConnectionResetError:
            pass
    forward = guest.forward("tcp:0:vsock:%d" % echo)
    with socket.create_connection(("127.0.0.1", forward), 5) as sock:
        assert echoes(sock, DATA)
