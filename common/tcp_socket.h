/* SPDX-License-Identifier: MIT */
/*
 * The options that every spliced TCP socket of the host carries from the start: TCP_NODELAY, since
 * the guest's kernel has done its own Nagle, and SO_LINGER {1, 0}, so that a process that dies
 * resets the connection instead of ending it cleanly. The linger goes just before an orderly close.
 *
 * None of these can fail on a TCP socket.
 */
#ifndef COMMON_TCP_SOCKET_H
#define COMMON_TCP_SOCKET_H

void tcp_socket_splice(int fd);
/* For a connection that nothing is said on: it ends half a minute after its peer went silently. */
void tcp_socket_keepalive(int fd);
void tcp_socket_close_orderly(int fd); /* closes: what was written still arrives, then FIN */

#endif
