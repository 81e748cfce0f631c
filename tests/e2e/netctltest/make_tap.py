# SPDX-License-Identifier: MIT
"""make_tap.py NAME FD: makes a tap with virtio-net headers here and sends it over the socket FD.

Run in the network namespace that the tap is to be in.
"""

import array
import fcntl
import os
import socket
import struct
import sys

IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x0002, 0x1000, 0x4000
TUNSETIFF = 0x400454CA

name, channel = sys.argv[1], int(sys.argv[2])
tap = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI | IFF_VNET_HDR))
sock = socket.socket(fileno=channel)
sock.sendmsg([b"t"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [tap]))])
