# SPDX-License-Identifier: MIT
"""What the end-to-end tests are made of.

    process    programs that run beside a test: logs, deadlines, ends by pid
    daemon     a private netctld, its CLI, its HTTP API, its attach socket
    namespace  a guest that is a network namespace with a tap
    vm         a guest that is a virtual machine
    vsock      a guest that speaks vsock packets over a stream
    tsi        what an AF_TSI kernel does, on top of it
    hybrid     a VMM with Firecracker's vsock
    vsock_guests  one guest for each transport of the vsock, with the same words for all
    world      a network with real servers, and netctld in it
    servers    little HTTP, UDP and DNS servers on the host
    browser    a headless Chromium
    xfer       streams whose every byte is checked (tests/tools/xfer.c)
"""
