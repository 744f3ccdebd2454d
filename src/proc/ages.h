/* proc/ages.h - what ages in a running server: revocation lists and OCSP responses. */
#ifndef PROC_AGES_H
#define PROC_AGES_H

#include "tls/tls_crl.h"

/* Reads a file of revocation lists into the set, with its octets in memory meanwhile. Errors as
 * tls_crl_load(). */
int crl_load_fd(struct tls_crl_set *set, int fd, const char *path, struct diag *diag) PT_MUST_USE;

#endif
