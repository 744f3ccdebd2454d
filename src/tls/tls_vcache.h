/* tls/tls_vcache.h - client chains that were verified and found good; within tls/ only.
 *
 * One per set of CAs: credential sets that follow each other share it while they trust the same CAs (and it is counted
 * how many do), so an entry never speaks for others. It holds good verdicts only, each with the time in which nothing of the chain expires or
 * begins to be valid; at most TLS_VCACHE_MAX, the oldest goes first. What may change within that time
 * (a revocation) is not its business. Not thread safe. */
#ifndef TLS_TLS_VCACHE_H
#define TLS_TLS_VCACHE_H

#include "util/err.h"
#include "util/span.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TLS_VCACHE_MAX 4096   /* chains; 260 KiB once all are used */
#define TLS_VCACHE_KEY_SIZE 32 /* SHA-256 of the chain as it was presented */

struct tls_vcache;

/* Empty; its memory is touched as it fills. NULL when out of memory. */
struct tls_vcache *tls_vcache_new(void);

struct tls_vcache *tls_vcache_ref(struct tls_vcache *c);

/* Gives up one reference; NULL is fine; sets the pointer to NULL. */
void tls_vcache_free(struct tls_vcache **c);

/* The chain was found good, and what that rested on is valid at now_s (seconds since 1970); until when: *until_out (may
 * be NULL). */
bool tls_vcache_has(const struct tls_vcache *c, const uint8_t key[TLS_VCACHE_KEY_SIZE], int64_t now_s,
		    int64_t *until_out);

/* The chain was found good; that holds from from_s to until_s, both included. */
void tls_vcache_add(struct tls_vcache *c, const uint8_t key[TLS_VCACHE_KEY_SIZE], int64_t from_s,
		    int64_t until_s);

/* Names (DER) of the CAs that stood between a leaf and a CA of ours in good chains: the last
 * TLS_VCACHE_BETWEEN_MAX of them, by a hash without a secret. For words only: nothing is decided by it. */
#define TLS_VCACHE_BETWEEN_MAX 64
void tls_vcache_add_between(struct tls_vcache *c, struct span name);
bool tls_vcache_has_between(const struct tls_vcache *c, struct span name);

size_t tls_vcache_count(const struct tls_vcache *c);

#endif
