/* tls/tls_selfsigned.h - a server's first key and the certificate that the key signs for itself.
 *
 * What "postern setup" needs so that a new installation answers inside TLS at once. Clients that
 * are given this certificate as their only CA can verify it by name; a certificate of a real CA
 * takes its place later. This is no CA: basic constraints say so. */
#ifndef TLS_TLS_SELFSIGNED_H
#define TLS_TLS_SELFSIGNED_H

#include "util/diag.h"

#include <time.h>

#define TLS_SELFSIGNED_DAYS 825 /* what clients accept at most from a private server certificate */

/* Makes an ECDSA P-256 key and a certificate for it, valid from an hour before now for
 * TLS_SELFSIGNED_DAYS, and writes both as PEM: the key (PKCS#8, not encrypted) to key_fd, the
 * certificate to cert_fd. Subject alternative names: hostname (left out when it is not a DNS name),
 * localhost, 127.0.0.1 and ::1. The descriptors stay the caller's, who also decides who may read
 * them and whether they reach the disk. No copy of the key stays in memory that this function
 * allocated. PT_EUNAVAIL: GnuTLS refused; PT_EIO: writing failed. */
int tls_selfsigned_make(const char *hostname, time_t now, int key_fd, int cert_fd,
			struct diag *diag) PT_MUST_USE;

#endif
