# SPDX-License-Identifier: MIT
"""What the end-to-end tests are made of.

    process    programs that run beside a test: logs, deadlines, ends by pid
    daemon     a private netctld, its CLI, its HTTP API, its attach socket
    namespace  a guest that is a network namespace with a tap
    vm         a guest that is a virtual machine
    servers    little HTTP, UDP and DNS servers on the host
    xfer       streams whose every byte is checked (tests/tools/xfer.c)
"""
