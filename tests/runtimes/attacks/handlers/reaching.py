"""Networks of every family. No packet leaves the host: a route is told by connecting a datagram socket."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct

from attack import LIBC, attack, call

SHMAT, SEMCTL, MSGCTL = 30, 66, 71
IPC_STAT, GETVAL, SHM_RDONLY = 2, 12, 0o10000


def greeted(client):
    client.settimeout(2)
    return client.recv(5) == b"hello"


def routed(family, address):
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((address, 9))
        return True


@attack("confined")
def reach_the_host_by_tcp(world):
    with socket.create_connection(("127.0.0.1", world["tcp"]), timeout=2) as client:
        return greeted(client)


@attack("confined")
def reach_the_host_by_tcp6(world):
    with socket.create_connection(("::1", world["tcp6"]), timeout=2) as client:
        return greeted(client)


@attack("confined")
def reach_the_host_by_udp(world):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect(("127.0.0.1", world["udp"]))
        client.send(b"x")
        return greeted(client)


@attack("confined")
def reach_the_host_by_a_unix_path(world):
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(world["unix_open"])
        return greeted(client)


@attack("confined")
def reach_the_host_by_an_abstract_name(world):
    with socket.socket(socket.AF_UNIX) as client:
        client.connect("\0" + world["abstract"])
        return greeted(client)


@attack("isolated")
def reach_the_host_by_a_queue_of_messages(world):
    queue = LIBC.mq_open(world["queue"].encode(), os.O_RDWR)
    if queue < 0:
        raise OSError(ctypes.get_errno(), "refused")
    os.close(queue)
    return True


@attack("isolated")
def reach_the_host_by_a_semaphore(world):
    if LIBC.semget(world["semaphore"], 1, 0o600) < 0:
        raise OSError(ctypes.get_errno(), "refused")
    return True


@attack("confined")
def reach_the_host_by_a_semaphore_s_number(world):
    return call(SEMCTL, world["semaphore_number"], 0, GETVAL) >= 0


@attack("confined")
def reach_the_host_by_a_segment_s_number(world):
    return call(SHMAT, world["segment"], 0, SHM_RDONLY) != 0


@attack("confined")
def reach_the_host_by_a_message_queue_s_number(world):
    return call(MSGCTL, world["message_queue"], IPC_STAT, ctypes.create_string_buffer(256)) >= 0


@attack("confined")
def reach_the_host_by_one_of_a_pair_of_sockets(world):
    for kind in (socket.SOCK_DGRAM, socket.SOCK_RAW):
        one, _ = socket.socketpair(socket.AF_UNIX, kind)
        with one:
            one.sendto(b"x", world["unix_datagrams"])
    return True


@attack("confined")
def reach_the_host_by_its_own_address(world):
    with socket.create_connection((world["address"], world["tcp_any"]), timeout=2) as client:
        return greeted(client)


@attack("confined")
def find_a_way_out(world):
    return routed(socket.AF_INET, "192.0.2.1")


@attack("confined")
def find_a_way_to_the_metadata(world):
    return routed(socket.AF_INET, "169.254.169.254")


@attack("confined")
def find_a_way_to_a_private_network(world):
    return routed(socket.AF_INET, "10.255.255.1")


@attack("confined")
def find_a_way_to_the_name_server(world):
    with open("/etc/resolv.conf") as file:
        servers = [line.split()[1] for line in file if line.startswith("nameserver")]
    return any(routed(socket.AF_INET, server) for server in servers if ":" not in server)


@attack("confined")
def see_the_host_s_interfaces(world):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM):
        return any(name != "lo" for _, name in socket.if_nameindex())


@attack("confined")
def see_the_host_s_routes(world):
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as kernel:
        kernel.bind((0, 0))
        # RTM_GETROUTE, dump.
        kernel.send(struct.pack("=IHHIIB11x", 28, 26, 0x301, 1, 0, socket.AF_INET))
        kernel.settimeout(2)
        answer = kernel.recv(65536)
        # Its own loopback's routes go to 127.0.0.0/8 alone.
        return b"\x08\x00\x05\x00" in answer or (struct.unpack_from("=H", answer, 4)[0] == 24 and b"\x0a\x00" in answer)


@attack("confined")
def share_the_host_s_ports(world):
    with socket.socket(socket.AF_INET) as server:
        try:
            server.bind(("127.0.0.1", world["tcp"]))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return True
            raise
        return False


@attack("confined")
def share_the_host_s_abstract_names(world):
    with socket.socket(socket.AF_UNIX) as server:
        try:
            server.bind("\0" + world["abstract"])
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return True
            raise
        return False


@attack("isolated")
def forge_packets(world):
    socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP).close()
    return True


@attack("isolated")
def forge_packets6(world):
    socket.socket(socket.AF_INET6, socket.SOCK_RAW, 58).close()
    return True


@attack("confined")
def listen_to_all_packets(world):
    socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)).close()
    return True


@attack("confined")
def reach_the_machine_s_host(world):
    # AF_VSOCK, which no network namespace holds back.
    socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM).close()
    return True


@attack("confined")
def use_the_kernel_s_ciphers(world):
    socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET).close()
    return True


@attack("confined")
def use_the_kernel_s_keys(world):
    socket.socket(socket.AF_KEY if hasattr(socket, "AF_KEY") else 15, socket.SOCK_RAW, 2).close()
    return True


@attack("confined")
def use_a_family_that_nobody_knows(world):
    # appletalk, x25, netrom, rose, can, tipc, bluetooth, iucv, rxrpc, isdn, phonet, kcm, qipcrtr, smc, xdp, mctp
    for family in (5, 6, 9, 11, 29, 30, 31, 32, 33, 34, 35, 41, 42, 43, 44, 45):
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM, socket.SOCK_RAW, socket.SOCK_SEQPACKET):
            try:
                socket.socket(family, kind).close()
            except OSError:
                continue
            return True
    return False


@attack("confined")
def use_a_family_by_a_pair_of_sockets(world):
    # The kernel loads and makes them before it says that there are no pairs of these.
    for family in (socket.AF_ALG, socket.AF_VSOCK, 29, 30, 31, 32):
        try:
            socket.socketpair(family, socket.SOCK_STREAM)
        except OSError as error:
            if error.errno == errno.EAFNOSUPPORT:
                continue
        return True
    return False


@attack("confined")
def use_a_protocol_that_nobody_needs(world):
    # SCTP, DCCP, UDP-Lite, L2TP: code of the kernel's that is loaded for whoever asks.
    for kind, protocol in ((1, 132), (5, 132), (6, 33), (2, 136), (2, 115)):
        for family in (socket.AF_INET, socket.AF_INET6):
            try:
                socket.socket(family, kind, protocol).close()
            except OSError:
                continue
            return True
    return False


@attack("confined")
def hear_the_kernel_s_events(world):
    # NETLINK_KOBJECT_UEVENT: which devices come and go.
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 15) as kernel:
        kernel.bind((0, 1))
        return os.path.exists("/sys/class/net/eth0") or host_s_network()


def host_s_network():
    return any(name != "lo" for _, name in socket.if_nameindex())


@attack("confined")
def speak_to_the_kernel_s_filters(world):
    # NETLINK_NETFILTER, from which many have become root.
    socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12).close()
    return True


@attack("confined")
def set_up_an_interface(world):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        import fcntl

        # SIOCSIFFLAGS on lo, to what it has.
        flags = fcntl.ioctl(probe, 0x8913, struct.pack("16sH14x", b"lo", 0))
        fcntl.ioctl(probe, 0x8914, flags)
    return True


@attack("confined")
def set_up_a_tunnel(world):
    import fcntl

    tunnel = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(tunnel, 0x400454CA, struct.pack("16sH22x", b"attack0", 1))
    return True
