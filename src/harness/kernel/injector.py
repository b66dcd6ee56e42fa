"""
Packets into a network namespace, fates out: the kernel judge's second way, for machines without a C compiler.

Speaks exactly the protocol of injector.c beside it; that file describes it. Standard library only.
"""
import ctypes
import fcntl
import os
import signal
import socket
import struct
import sys
import time

SO_RCVMARK = 75
LOG_GROUP = 7
FROM_INSIDE, REPEAT = 0xFFFF, 0xFFFE
ETH_P_ALL, ETH_P_IP, PACKET_OUTGOING = 3, 0x0800, 4
OWN_CHATTER = {bytes([0xFF, 2] + [0] * 13 + [last]) for last in (2, 0x16)}


def open_tap():
    tap = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
    code = [(0x30, 0, 0, 0xFFFFF004), (0x15, 0, 1, PACKET_OUTGOING), (0x06, 0, 0, 0x40000), (0x06, 0, 0, 0)]
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *one) for one in code))
    tap.setsockopt(socket.SOL_SOCKET, 26, struct.pack("HL", len(code), ctypes.addressof(program)))
    tap.setsockopt(socket.SOL_SOCKET, SO_RCVMARK, 1)
    tap.setsockopt(socket.SOL_SOCKET, 33, 8 << 20)  # SO_RCVBUFFORCE
    tap.setblocking(False)
    return tap


def log_config(log, kind, data):
    attribute = struct.pack("HH", 4 + len(data), kind) + data + b"\0" * (-len(data) % 4)
    body = struct.pack("!BBH", 0, 0, LOG_GROUP) + attribute
    log.send(struct.pack("IHHII", 16 + len(body), 4 << 8 | 1, 5, 0, 0) + body)
    if struct.unpack_from("i", log.recv(65536), 16)[0] != 0:
        sys.exit("NFLOG refused")


def open_log():
    log = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
    log_config(log, 1, struct.pack("B", 1))  # NFULA_CFG_CMD: bind
    log_config(log, 2, struct.pack("!IBB", 65535, 2, 0))  # NFULA_CFG_MODE: whole packets
    log_config(log, 5, struct.pack("!I", 1))  # NFULA_CFG_QTHRESH: at once
    log.setblocking(False)
    return log


def set_up(name):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, 0x8914, struct.pack("16sh14x", name.encode(), 1))  # SIOCSIFFLAGS, IFF_UP


def open_device(name):
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, 0x400454CA, struct.pack("16sh14x", name.encode(), 0x1001))  # TUNSETIFF
    return device, socket.if_nametoindex(name)


class Injector:
    def __init__(self, names):
        self.tap, self.log = open_tap(), open_log()
        self.raw4 = socket.socket(socket.AF_INET, socket.SOCK_RAW, 255)
        self.raw6 = socket.socket(socket.AF_INET6, socket.SOCK_RAW, 255)
        set_up("lo")
        self.devices = []
        for name in names:
            self.devices.append(open_device(name))
            set_up(name)
        self.by_ifindex = {ifindex: device for device, ifindex in self.devices}
        self.ifindex_of = {name: ifindex for ifindex, name in socket.if_nameindex()}
        for _, ifindex in self.devices:
            self.await_device(ifindex)

    def await_device(self, ifindex):
        canary = bytes([0x45, 0, 0, 28, 0, 0, 0, 0, 1, 17]) + bytes(18)
        with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0) as sender:
            for _ in range(5000):
                try:
                    sender.sendto(canary, (socket.if_indextoname(ifindex), ETH_P_IP))
                except OSError:
                    pass
                if any(seen == ifindex for _, seen, _, _ in self.leaving()):
                    return
                time.sleep(0.001)
        sys.exit("device does not transmit")

    def leaving(self):
        events = []
        while True:
            try:
                packet, control, _, source = self.tap.recvmsg(65536, 64)
            except BlockingIOError:
                return events
            ifindex = self.ifindex_of[source[0]]
            marks = [struct.unpack("I", data[:4])[0] for level, _, data in control if level == socket.SOL_SOCKET]
            if not (len(packet) >= 40 and packet[0] >> 4 == 6 and packet[24:40] in OWN_CHATTER):
                events.append((1, ifindex, marks[0] if marks else 0, packet))
            device = self.by_ifindex.get(ifindex)
            while device is not None:
                try:
                    os.read(device, 65536)
                except BlockingIOError:
                    break

    def delivered(self):
        events = []
        while True:
            try:
                data = self.log.recv(1 << 17)
            except BlockingIOError:
                return events
            at = 0
            while at + 16 <= len(data):
                size, kind = struct.unpack_from("IH", data, at)
                if kind == 4 << 8:
                    events.append(self.read_log(data[at + 20 : at + size]))
                at += max(16, size + 3 & ~3)

    @staticmethod
    def read_log(data):
        mark, ifindex, packet, at = 0, 0, b"", 0
        while at + 4 <= len(data):
            size, kind = struct.unpack_from("HH", data, at)
            value = data[at + 4 : at + size]
            if kind & 0x3FFF == 2:
                mark = int.from_bytes(value, "big")
            elif kind & 0x3FFF == 4:
                ifindex = int.from_bytes(value, "big")
            elif kind & 0x3FFF == 9:
                packet = value
            at += max(4, size + 3 & ~3)
        return 2, ifindex, mark, packet

    def inject(self, device, packet):
        try:
            if device != FROM_INSIDE:
                os.write(self.devices[device][0], packet)
            elif packet[0] >> 4 == 4:
                self.raw4.sendto(packet, (socket.inet_ntop(socket.AF_INET, packet[16:20]), 0))
            else:
                self.raw6.sendto(packet, (socket.inet_ntop(socket.AF_INET6, packet[24:40]), 0))
        except OSError:
            pass  # refused by the stack or by a rule: no output then
        events = self.leaving() + self.delivered()
        parts = [struct.pack("H", len(events))]
        for kind, ifindex, mark, out in events:
            parts += [struct.pack("HHII", kind, len(out), ifindex, mark), out]
        return b"".join(parts)

    def measure(self, request):
        rounds, device = struct.unpack_from("IH", request)
        start = time.monotonic_ns()
        for _ in range(rounds):
            self.inject(device, request[8:])
        return struct.pack("I", (time.monotonic_ns() - start) // max(1, rounds))

    def serve(self):
        os.write(1, b"".join(struct.pack("I", ifindex) for _, ifindex in self.devices))
        self.leaving()
        pending = b""
        while data := os.read(0, 1 << 20):
            pending += data
            at, answers = 0, []
            while len(pending) - at >= 4:
                device, length = struct.unpack_from("HH", pending, at)
                if len(pending) - at - 4 < length:
                    break
                packet = pending[at + 4 : at + 4 + length]
                answers.append(self.measure(packet) if device == REPEAT else self.inject(device, packet))
                at += 4 + length
            pending = pending[at:]
            answer = memoryview(b"".join(answers))
            while answer:
                answer = answer[os.write(1, answer) :]


ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
Injector(sys.argv[1:]).serve()
