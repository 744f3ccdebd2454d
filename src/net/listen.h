/* net/listen.h - listening sockets: bound once by the parent, inherited by every worker generation. */
#ifndef NET_LISTEN_H
#define NET_LISTEN_H

#include "net/addr.h"
#include "util/diag.h"

#define LISTEN_BACKLOG 4096 /* connections that wait in the kernel; it may give less (somaxconn) */

/* Binds and listens; the socket is non-blocking and close-on-exec. A unix socket that nobody answers
 * at is removed first and the new one is made with mode (0666: who may connect is the folder's
 * business). PT_EBUSY when somebody else has the address, PT_EPERM, PT_EIO. */
int listen_open(const union addr *a, socklen_t len, unsigned mode, int *fd_out, struct diag *diag)
	PT_MUST_USE;

/* One connection: *fd_out non-blocking, close-on-exec, TCP_NODELAY (from the listener). PT_EAGAIN: none waits; PT_EFULL:
 * no descriptors or memory left (it still waits); a connection that died while waiting is skipped. */
int listen_accept(int fd, union addr *peer_out, socklen_t *len_out, int *fd_out) PT_MUST_USE;

#endif
